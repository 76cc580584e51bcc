"""The batch of an image-classification task."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

Sample = tuple[Tensor, int | np.ndarray, int]
"""Image [C, H, W], label, index: what a data set of labelled images returns for one draw.

The label is a class, or a row of `Listing.labels`: [L] uint8 of 0 and 1, or [V] float32.
"""


class ImageBatch(NamedTuple):
    """Labelled images.

    Attributes:
        image: [B, C, H, W] float32, normalised by the data's mean and standard deviation.
        label: [B] int64, the class; or [B, L] float32, 1 for each of L classes that the image has, else 0; or [B, V]
            float32, values in the unit of the data.
        index: [B] int64, the sample's place in its listing; -1 marks padding, which no metric counts.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


def collate_images(samples: list[Sample]) -> ImageBatch:
    """Stacks samples into one batch; in a data-loader worker the images go straight to shared memory."""
    images, labels, indices = zip(*samples, strict=True)
    return ImageBatch(default_collate(list(images)), stack_labels(labels), torch.tensor(indices))


def stack_labels(labels: Sequence[int | np.ndarray]) -> Tensor:
    """Returns [B] int64 of classes, or [B, L] float32 of rows of labels or values."""
    if isinstance(labels[0], np.ndarray):
        return torch.from_numpy(np.stack(labels).astype(np.float32))
    return torch.tensor(labels)


def blank_images(count: int, size: tuple[int, int], channels: int = 3) -> ImageBatch:
    """Returns a batch of `count` images of zeros, of `size` (height, width), of the first class."""
    numbers = torch.zeros(count, dtype=torch.int64)
    return ImageBatch(torch.zeros(count, channels, *size), numbers, numbers.clone())
