"""The batch of an image-classification task."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

Sample = tuple[Tensor, int, int]
"""Image [3, H, W], label, index: what a data set of single-label images returns for one draw."""


class ImageBatch(NamedTuple):
    """Images with one label each.

    Attributes:
        image: [B, 3, H, W] float32, normalised by the data's mean and standard deviation.
        label: [B] int64 in 0..C-1.
        index: [B] int64, the sample's place in its listing; -1 marks padding, which no metric counts.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


def collate_images(samples: list[Sample]) -> ImageBatch:
    """Stacks samples into one batch; in a data-loader worker the images go straight to shared memory."""
    images, labels, indices = zip(*samples, strict=True)
    return ImageBatch(default_collate(list(images)), torch.tensor(labels), torch.tensor(indices))


def blank_images(count: int, size: tuple[int, int]) -> ImageBatch:
    """Returns a batch of `count` images of zeros, of `size` (height, width), with label 0."""
    numbers = torch.zeros(count, dtype=torch.int64)
    return ImageBatch(torch.zeros(count, 3, *size), numbers, numbers.clone())
