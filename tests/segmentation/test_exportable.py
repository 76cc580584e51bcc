"""A segmenter is exported as the logits of one window, from which whole images come out as those of the run."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maekit.base.exportable import Exportable
from maekit.base.predict_options import PredictOptions
from maekit.base.tile_options import TileOptions
from maekit.errors import UserError
from maekit.export.graph.trace import trace
from maekit.segmentation.data.dataset import SegEvalBatch
from maekit.segmentation.exportable import compare_pixels
from maekit.segmentation.onnx_predictor import predictor_of, tiled_of, writer_of
from tests.segmentation.helpers import CLASSES, SIDE, model

pytestmark = pytest.mark.numeric

INPUT: dict[str, Any] = {"resize": [96, 64], "min_side": 64, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


@cache
def segmenter(task: str = "ade20k_linear", scales: Sequence[float] = (), flip: bool = False) -> Any:
    """A small segmenter whose weights are moved, so that the classes of pixels differ."""
    views: dict[str, Any] = {"scales": str(list(scales)).replace(" ", "")} if scales else {}
    found = model(task=task, flip=str(flip).lower(), **views)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return found.eval()


def exportable(*given: Any) -> Exportable:
    found = segmenter(*given).exportable(INPUT)
    assert isinstance(found, Exportable)
    return found


class OfTheModel:
    """Stands for a file: the module itself behind the protocol."""

    def __init__(self, found: Exportable) -> None:
        self.module, self.path = found.module, Path("model.onnx")
        self.metadata = {**found.metadata, "image_size": list(found.image_size)}

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            return {"logits": self.module(*inputs)[0]}


def picture(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(64, 64), (90, 200), (40, 70)], ids=["a window", "several", "smaller, enlarged"])
@pytest.mark.parametrize("views", [((), False), ((0.75, 1.25), True)], ids=["one view", "four views"])
def test_a_files_predictor_gives_the_labels_of_the_run(size: tuple[int, int], views: tuple[Any, ...]) -> None:
    image, given = picture(*size), ("ade20k_linear", *views)
    ours = predictor_of(OfTheModel(exportable(*given)))
    theirs = segmenter(*given).shown().predictor(INPUT)
    (one,), (other,) = (list(each.predict([each.prepare(image)], torch.device("cpu"))) for each in (ours, theirs))
    assert one.labels.shape == size and len(np.unique(other.labels)) > 1
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("task", ["ade20k_linear", "ade20k_upernet"])
def test_windows_of_validation_images_cover_them_in_the_runs_places(task: str) -> None:
    found, stride = exportable(task), 42  # the smoke recipes' window_stride
    images = [torch.randn(3, 64, 64), torch.randn(3, 64, 150), torch.randn(3, 50, 64)]
    batch = SegEvalBatch(images, [torch.zeros(1, 1, dtype=torch.int64)] * 3, torch.tensor([0, 1, -1]))
    given = found.images_of(batch)
    assert all(isinstance(windows, Tensor) for windows in given)
    lefts = [0, stride, 2 * stride, 150 - SIDE]
    expected = [images[0], *(images[1][:, :, left : left + SIDE] for left in lefts)]
    assert torch.equal(torch.cat(list(given)), torch.stack(expected))  # type: ignore[arg-type]
    with torch.inference_mode():
        logits = found.module(torch.stack(expected))
    assert len(logits) == 1 and logits[0].shape == (5, CLASSES, SIDE, SIDE)


def test_the_file_says_all_that_whole_images_need(tmp_path: Path) -> None:
    found = exportable("ade20k_linear", (0.75, 1.25), True)
    known = found.metadata
    assert (known["window_stride"], known["scales"], known["flip"]) == ([42, 42], [0.75, 1.25], True)
    assert known["class_names"] == [str(number) for number in range(CLASSES)] and known["input"] == INPUT
    palette = known["palette"]
    assert isinstance(palette, list) and len(palette) == CLASSES
    writer = writer_of(OfTheModel(found), tmp_path, PredictOptions())
    assert [list(colour) for colour in writer.palette] == palette


def test_a_metric_can_be_measured_through_a_file() -> None:
    """The evaluation asks what is given, and the model again afterwards."""
    found, net = exportable(), segmenter()
    assert found.evaluated_with is not None
    images = torch.randn(2, 3, SIDE, SIDE)
    before = net(images)

    def third(given: Tensor) -> dict[str, Tensor]:
        logits = torch.zeros(given.shape[0], CLASSES, SIDE, SIDE)
        logits[:, 3] = 1.0
        return {"logits": logits}

    metrics = net.new_metrics()
    label = torch.full((SIDE, SIDE), 3)
    with found.evaluated_with(third):
        net.update_metrics(metrics, SegEvalBatch(list(images), [label, label], torch.tensor([0, 1])))
    assert float(metrics.compute()["aAcc"]) == 100.0
    assert torch.equal(net(images), before)


def test_pixels_are_compared_by_their_class() -> None:
    ours = {"logits": np.zeros((2, 3, 4, 4), dtype=np.float32)}
    ours["logits"][:, 1] = 0.5
    theirs = {"logits": ours["logits"].copy()}
    theirs["logits"][0, 2, 0, :3] = 0.75
    found = compare_pixels(ours, theirs)
    assert (found.equal, found.count, found.differences) == (29, 32, {"logits": 0.75})
    assert compare_pixels(ours, {"logits": ours["logits"][:, :2]}).differences == {"logits": float("inf")}


class Deciding(nn.Module):
    """A head that looks at values before it decides what to do, which no graph holds."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.head(maps)
        return logits if float(logits.mean()) > 0 else -logits


def test_a_head_that_cannot_be_traced_is_named_in_one_line() -> None:
    net = model(task="ade20k_linear").eval()
    net.head = Deciding(net.head)
    with pytest.raises(UserError, match="the head Deciding cannot be traced") as raised:
        trace(net.exportable(INPUT))
    assert "\n" not in str(raised.value)


def test_images_larger_than_memory_are_looked_at_as_by_the_run() -> None:
    given = ("ade20k_linear", (0.75, 1.25), True)
    ours = tiled_of(OfTheModel(exportable(*given)), TileOptions())
    theirs = segmenter(*given).shown().tiled_predictor(INPUT, TileOptions())
    assert ours.words == theirs.words and ours.looks.scales == [0.75, 1.25] and ours.looks.flip
    windows = torch.randn(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        assert torch.equal(ours.looks.windows.logits_of(windows), theirs.looks.windows.logits_of(windows))
