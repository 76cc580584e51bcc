"""What a detector is taught with, and what it finds."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from maekit.detection.data.batch import InstanceMask


class Detections(NamedTuple):
    """What was found in one image, the highest score first.

    Attributes:
        boxes: float32 [K, 4], x0 y0 x1 y1 in pixels of the original image, inside it, none empty.
        scores: float32 [K], 0 to 1.
        labels: int64 [K], 0 to C - 1.
        masks: float32 [K, M, M], the probability of the object in each cell of its box; `paste_masks` draws them.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor


class Truth(Protocol):
    """The objects of a batch of B images, as `maekit.detection.data.batch.DetBatch` has them.

    Attributes:
        size: int64 [B, 2], height and width of each image without its padding.
        boxes: B times float32 [K, 4], x0 y0 x1 y1 in pixels, every side above 0; K may be 0.
        labels: B times int64 [K], 0 to C - 1.
        masks: B times K shapes.
    """

    @property
    def size(self) -> Tensor: ...  # noqa: D102
    @property
    def boxes(self) -> Sequence[Tensor]: ...  # noqa: D102
    @property
    def labels(self) -> Sequence[Tensor]: ...  # noqa: D102
    @property
    def masks(self) -> Sequence[Sequence[InstanceMask]]: ...  # noqa: D102


class Regions(NamedTuple):
    """Boxes of one image, drawn to train on.

    Attributes:
        boxes: float32 [R, 4].
        labels: int64 [R], the class of the object that each overlaps; the number of classes is background.
        objects: int64 [R], which of the image's objects that is; without meaning for background.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
