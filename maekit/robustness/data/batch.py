"""The images of several robustness data sets as one list of samples; each sample has the number of its cell."""

from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from maekit.base.data import DrawDataset
from maekit.base.spec import Draw
from maekit.data.folders.listing import Listing
from maekit.data.images.decode import read_image
from maekit.data.images.transforms import EvalTransform
from maekit.robustness.data.sets import CORRUPTED, cells

RobustnessSample = tuple[Tensor, int, int, int]
"""Image [3, H, W], label, cell, index: what the data set returns for one draw."""


class Part(NamedTuple):
    """The images of one cell.

    Attributes:
        cell: its number, a place in `cells()`.
        listing: the images; its classes are the class folders on disk.
        labels: [class folders of the listing] int64, the label of each folder in all data sets' list of classes.
    """

    cell: int
    listing: Listing
    labels: np.ndarray


class RobustnessBatch(NamedTuple):
    """Images of any of the data sets.

    Attributes:
        image: [B, 3, H, W] float32, normalised by the data's mean and standard deviation.
        label: [B] int64, the class's place in the data's list of classes (`DataSpec.class_ids`), not in the model's.
        cell: [B] int64 in 0..77: the data set, or the corruption and severity (a place in `cells()`).
        index: [B] int64, the image's place in all data sets one after the other; -1 marks padding, which no metric
            counts.
    """

    image: Tensor
    label: Tensor
    cell: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


class RobustnessImages(DrawDataset):
    """The images of all parts, one part after the other.

    Args:
        parts: at least one.
        transform: for all data sets but ImageNet-C.
        corrupted: for ImageNet-C.
    """

    def __init__(self, parts: tuple[Part, ...], transform: EvalTransform, corrupted: EvalTransform) -> None:
        self.parts, self.transform, self.corrupted = parts, transform, corrupted
        self.ends = np.array([*accumulate(len(part.listing) for part in parts)])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, draw: Draw) -> RobustnessSample:
        index = max(draw.index, 0)
        number = int(np.searchsorted(self.ends, index, side="right"))
        cell, listing, labels = self.parts[number]
        place = index - int(self.ends[number]) + len(listing)
        transform = self.corrupted if cells()[cell].name == CORRUPTED else self.transform
        image = transform(read_image(listing.path(place)))
        label = int(labels[listing.labels[place]]) if draw.index >= 0 else 0
        return image, label, cell, draw.index


class NoImages(DrawDataset):
    """The empty training data of data sets that are only evaluated."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, draw: Draw) -> RobustnessSample:
        raise IndexError("there are no training images")


def collate_robustness(samples: list[RobustnessSample]) -> RobustnessBatch:
    """Stacks samples into one batch."""
    images, labels, numbers, indices = zip(*samples, strict=True)
    image = default_collate(list(images))
    return RobustnessBatch(image, torch.tensor(labels), torch.tensor(numbers), torch.tensor(indices))
