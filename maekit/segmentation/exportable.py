"""What is exported of a segmenter: the logits of one window. Whole images are put together beside the file."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor, nn

from maekit.backbone.protocol import Backbone
from maekit.backbone.relative_bias import on_any_grid
from maekit.base.exportable import Compared, Exportable, Outputs, Runs, compare_outputs, method_replaced
from maekit.base.spec import DataSpec
from maekit.drawing.text import Colour
from maekit.segmentation.data.dataset import SegEvalBatch
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.windows import laid_out
from maekit.system.size import HeightWidth

FAMILY, OUTPUT = "segmentation", "logits"
LEAST_PATCHES = 4  # of a side: the pyramids halve the maps, and a map of one pixel would be bound


class Evaluation(TypedDict):
    """How whole images are evaluated; see `predict_labels`."""

    num_classes: int
    window: HeightWidth
    stride: HeightWidth
    batch: int
    scales: tuple[float, ...]
    flip: bool


class Segments(Protocol):
    """A segmenter of windows, a module."""

    spec: DataSpec
    palette: tuple[Colour, ...]

    @property
    def backbone(self) -> Backbone:
        """What its patches are of."""

    def __call__(self, images: Tensor) -> Tensor:
        """Returns logits [B, C, H, W] of windows [B, C, H, W], normalised."""


class WindowLogits(nn.Module):
    """A segmenter's logits in fp32.

    Args:
        model: windows [B, 3, H, W] to logits [B, C, H, W].
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Returns the logits of normalised windows."""
        with on_any_grid(self.model):
            return (self.model(images).float(),)


def window_exportable(
    model: Segments, input: Mapping[str, Any], evaluation: Mapping[str, Any], *, head: str
) -> Exportable:
    """Returns what is exported of a segmenter.

    The windows are not in the graph: how many an image has follows from its size, and a graph of all of them would need
    the memory of all their logits (3 GB for 20 windows of ADE20K). `predict_labels` joins windows of either. A graph of
    free size takes other programs' images whole: positions are resized, and beyond the window tables of biases give the
    farthest shift's. Of the smoke run (mIoU 66.3 at its 64 px) images of 80 px have 54.2 so, and also with its tables
    resized as loading does it; 50.5 in windows.

    Args:
        model: loaded, in evaluation mode.
        input: the values of the evaluation transform.
        evaluation: how whole images are evaluated, an `Evaluation`.
        head: its name.
    """
    assert isinstance(model, nn.Module)
    spec, transform = model.spec, SegEvalTransform(**input)
    window, stride = evaluation["window"], evaluation["stride"]

    def windows(image: Tensor) -> list[Tensor]:
        padded, boxes = laid_out(image, window, stride)
        return [padded[:, rows, columns] for rows, columns in boxes]

    def middle(image: Any) -> Tensor:
        found = windows(transform(image))
        return found[len(found) // 2]

    def windows_of(batch: SegEvalBatch) -> list[Tensor]:
        return [
            stacked
            for image, index in zip(batch.images, batch.index.tolist(), strict=True)
            if index >= 0
            for stacked in _stacked(windows(image), evaluation["batch"])
        ]

    def evaluated_with(runs: Runs) -> AbstractContextManager[None]:
        return method_replaced(model, "forward", lambda images: runs(images)[OUTPUT].to(images.device))

    return Exportable(
        module=WindowLogits(model).eval(),
        outputs=(OUTPUT,),
        image_size=spec.image_size,
        channels=spec.num_channels,
        metadata={
            "family": FAMILY,
            "class_names": list(spec.class_names),
            "class_ids": list(spec.class_ids),
            "palette": [list(colour) for colour in model.palette],
            "window_stride": list(stride),
            "window_batch": evaluation["batch"],
            "scales": list(evaluation["scales"]),
            "flip": evaluation["flip"],
            "head": head,
            "input": dict(input),
        },
        prepare=middle,
        images_of=windows_of,
        compare=compare_pixels,
        unit="pixels of windows",
        side_multiple=model.backbone.patch_size,
        least_multiple=LEAST_PATCHES,
        evaluated_with=evaluated_with,
    )


def compare_pixels(ours: Outputs, theirs: Outputs) -> Compared:
    """Returns the largest difference of logits, and how many pixels of the windows have the same class."""
    same_shape = ours[OUTPUT].shape == theirs[OUTPUT].shape
    equal = ours[OUTPUT].argmax(1) == (theirs[OUTPUT].argmax(1) if same_shape else -1)
    return compare_outputs(ours, theirs, [OUTPUT], equal)


def _stacked(windows: list[Tensor], batch: int) -> list[Tensor]:
    return [torch.stack(windows[start : start + batch]) for start in range(0, len(windows), batch)]
