"""Segmenters as ONNX files and torch.export's: the same logits in batches of any size, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.base.exportable import largest_difference
from maekit.errors import UserError
from maekit.export.graph.check import Check, compare, judge
from maekit.export.graph.make import Wanted, write
from maekit.export.graph.run import open_graph
from maekit.export.graph.samples import Samples
from tests.segmentation.helpers import CLASSES, SIDE, model

pytestmark = [pytest.mark.slow, pytest.mark.numeric]

PATCH = 8
INPUT = {"resize": [96, 64], "min_side": 64, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def windows(count: int) -> Tensor:
    coarse = torch.randn(count, 3, 9, 9, generator=torch.Generator().manual_seed(count))
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")


@pytest.mark.parametrize(
    ("task", "ending", "head"),
    [
        ("ade20k_linear", ".onnx", "maekit"),
        ("ade20k_upernet", ".onnx", "maekit"),
        ("ade20k_upernet", ".pt2", "maekit"),
        ("ade20k_linear", ".pt2", "mmseg:FCNHead"),
    ],
)
def test_a_file_gives_the_logits_of_its_run(task: str, ending: str, head: str, tmp_path: Path) -> None:
    more: dict[str, Any] = {"head_channels": 16} if head != "maekit" else {}
    net = model(task=task, head=head, **more).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    found = net.exportable(INPUT)
    wanted = Wanted("onnx" if ending == ".onnx" else "torch", tmp_path / "wanted" / f"model{ending}")
    file, taken, _ = write(found, wanted, tmp_path, {"kind": "predictions", "task": task})
    graph = open_graph(file)
    check: Check = compare(taken, graph, Samples([(windows(count),) for count in (1, 2, 5, 64)], "noise", real=False))
    judge(check, "fp32", None)
    assert check.passed and check.differences.keys() == {"logits"}
    assert check.equal > 0.999 and check.num_counted == 72 * SIDE * SIDE
    logits = graph(windows(2))["logits"]
    assert logits.shape == (2, CLASSES, SIDE, SIDE) and bool((logits.argmax(1) != logits[0, :, 0, 0].argmax()).any())
    assert len(check.shapes) == 8  # four batches, one and three windows, and two other sizes
    for height, width in ((SIDE - 24, SIDE + 40), (4 * PATCH, 2 * SIDE)):
        images = torch.nn.functional.interpolate(windows(3), (height, width), mode="bilinear")
        with torch.no_grad():
            expected = found.module(images)[0]
        assert largest_difference(expected.numpy(), graph(images)["logits"].numpy()) < 1e-4
    with pytest.raises(UserError, match="any multiples of 8 px from 32 on"):
        graph(windows(2)[:, :, : SIDE - 20])
