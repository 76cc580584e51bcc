"""A classifier as small as one can be, exported once a session."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from maekit.base.exportable import Exportable
from maekit.base.model import TransferModel
from maekit.base.spec import DataSpec
from maekit.export.graph.make import Wanted, write
from maekit.export.graph.samples import Samples
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task

INPUT: dict[str, Any] = {"image_size": 16, "crop_fraction": 1.0, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
CLASSES = DataSpec(("a", "b", "c"), (16, 16))
ORIGIN: dict[str, object] = {"kind": "predictions", "task": "small"}


def model(task: str = "imagenet_finetune", spec: DataSpec = CLASSES, *flags: str) -> TransferModel:
    """A model of a smoke recipe with moved weights, so that no part of it is at a start of zeros or ones."""
    stacked = load_recipe(find_task(task), "smoke")
    module = stacked.task.load()
    given = ["--model.backbone=vit_test_patch8", "--model.weights=none", *flags]
    torch.manual_seed(0)
    found: TransferModel = module.Model.build(spec, resolve(stacked, module, given, training=False).values["model"])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return found.eval()


@cache
def exported() -> tuple[Exportable, Path]:
    """The small classifier, and its ONNX file."""
    found = model().exportable(INPUT)
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="exported-"))
    file, taken, _ = write(found, Wanted("onnx", folder / "wanted" / "model.onnx"), folder, ORIGIN)
    return taken, file


def noise(batch: int, height: int = 16, width: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def samples(*batches: torch.Tensor) -> Samples:
    return Samples([(batch,) for batch in batches or (noise(4), noise(2, seed=1))], "noise", real=False)
