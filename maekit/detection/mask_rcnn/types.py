"""The objects that a detector is trained on, and those that it finds."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from maekit.detection.data.batch import InstanceMask

IGNORED = -1  # a box that is neither an object nor background


class Detections(NamedTuple):
    """The objects found in one image, the highest score first.

    maekit's detector gives the masks on its own device, and the rest in the host's memory, where its batch was copied
    at once; detectron2's gives everything on its device.

    Attributes:
        boxes: float32 [K, 4], x0 y0 x1 y1 in pixels of the original image, inside it, none empty.
        scores: float32 [K], 0 to 1.
        labels: int64 [K], 0 to C - 1.
        masks: float32 [K, M, M], the probability of the object in each cell of its box; `paste_masks` draws them. None
            of a detector of boxes alone.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None


class Truth(Protocol):
    """The objects of a batch of B images, as `maekit.detection.data.batch.DetBatch` has them.

    Attributes:
        size: int64 [B, 2], height and width of each image without its padding.
        boxes: B times float32 [K, 4], x0 y0 x1 y1 in pixels; K may be 0, and an empty box is no object.
        labels: B times int64 [K], 0 to C - 1.
        masks: B times K shapes, which a detector of boxes alone does not read.
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
    """A random choice of boxes of one image to train on.

    Attributes:
        boxes: float32 [R, 4].
        labels: int64 [R], the class of the object that each box overlaps; the number of classes means background, and
            `IGNORED` that the row was not drawn.
        objects: int64 [R], the place of that object among those of the image; meaningless for background.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
