"""The batches of a detection task, and the mask of one object."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from maekit.detection.data.annotation import Annotation


class InstanceMask(NamedTuple):
    """One object's shape in the padded picture: polygons if the file has polygons, else a bitmap.

    Attributes:
        polygons: float64 [2 n] each, x0 y0 x1 y1 ... in pixels of the augmented picture, whose left and upper edges
            are 0; empty where `bitmap` is given.
        bitmap: [S, S] bool, of the padded square; None where there are polygons.
    """

    polygons: tuple[np.ndarray, ...]
    bitmap: np.ndarray | None


class DetBatch(NamedTuple):
    """Training pictures with their objects.

    Attributes:
        image: [B, 3, S, S] float32, normalised, then padded with zeros below and on the right.
        size: [B, 2] int64, height and width of the picture inside.
        boxes: B times [K, 4] float32, x0 y0 x1 y1 in pixels of the picture; K may be 0.
        labels: B times [K] int64 in 0..C-1, in the order of the class names.
        masks: B times K shapes; B times none where boxes alone are learned.
        index: [B] int64, the sample's place in its listing; -1 marks padding.
    """

    image: Tensor
    size: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[list[InstanceMask]]
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


class DetEvalBatch(NamedTuple):
    """Whole pictures, with the annotations as the file has them.

    Attributes:
        image: [B, 3, S, S] float32, normalised, then padded with zeros below and on the right.
        size: [B, 2] int64, height and width of the resized picture inside.
        original: [B, 2] int64, height and width of the picture in its file.
        image_id: [B] int64, of the annotation file.
        truth: B times the picture's annotations, in the pixels of its file.
        index: [B] int64, the sample's place in its listing; -1 marks padding, which nothing counts.
    """

    image: Tensor
    size: Tensor
    original: Tensor
    image_id: Tensor
    truth: list[list[Annotation]]
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
