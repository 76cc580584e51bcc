"""A cascade: each stage's boxes are the next one's regions (Cascade R-CNN, Cai and Vasconcelos, 1712.00726)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maekit.detection.host import to_host
from maekit.detection.mask_rcnn.boxes import BoxCoder, clipped, not_empty
from maekit.detection.mask_rcnn.matching import match
from maekit.detection.mask_rcnn.types import Regions
from maekit.system.size import HeightWidth


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scaled_gradient(values: Tensor, factor: float) -> Tensor:
    """Returns the same values; their gradient is multiplied by `factor` on its way back.

    The authors average the stages' losses and raise the heads' learning rate by their number. detectron2 adds the
    losses and divides, here, what they give to the maps: the same.
    """
    scaled: Tensor = _ScaledGradient.apply(values, factor)
    return scaled


@torch.no_grad()
def next_boxes(
    deltas: Tensor, regions: Sequence[Tensor], coder: BoxCoder, sizes: Sequence[HeightWidth]
) -> list[Tensor]:
    """Returns the boxes that a stage predicts, clipped to their images: the regions of the next one.

    They lie in the host's memory, since they decide from which map each is pooled. This is one copy that waits for an
    accelerator.

    Args:
        deltas: [R, 4], on any device.
        regions: the boxes that the stage was given, of each image, R in all, in the host's memory.
        coder: of deltas.
        sizes: of the images without their padding.

    Returns:
        float32 [R_i, 4] of each image; an empty one stays in its row, and one that is not finite is zeros.
    """
    (offsets,) = to_host([deltas])
    boxes = coder.decode(offsets.float(), torch.cat(list(regions)))
    boxes = torch.where(boxes.isfinite().all(1, keepdim=True), boxes, 0.0)
    parts = torch.split(boxes, [len(image) for image in regions])
    return [clipped(image, size) for image, size in zip(parts, sizes, strict=True)]


@torch.no_grad()
def labelled(boxes: Tensor, true: Tensor, labels: Tensor, *, num_classes: int, iou: float) -> Regions:
    """Returns all boxes of one image that are not empty, as regions to train a stage on.

    Args:
        boxes: [P, 4], of the stage before.
        true: the objects' boxes [K, 4].
        labels: int64 [K], their classes.
        num_classes: label of background.
        iou: overlap from which a box is the object.
    """
    boxes = boxes[not_empty(boxes)]
    kind, objects = match(boxes, true, iou, iou, force=False)
    background = torch.full_like(kind, num_classes)
    classes = torch.where(kind == 1, labels[objects], background) if len(true) else background
    return Regions(boxes, classes, objects)
