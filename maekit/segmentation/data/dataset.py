"""Data sets of images with label maps, their samples and batches."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from maekit.base.data import DrawDataset, seeded
from maekit.base.spec import Draw
from maekit.data.images.decode import UPRIGHT
from maekit.data.images.reading_of import AnyReading
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_pair
from maekit.segmentation.data.layout.layout import Pairs
from maekit.segmentation.data.transforms.transforms import SegEvalTransform, SegTrainTransform


class SegBatch(NamedTuple):
    """Training crops.

    Attributes:
        image: [B, C, H, W] float32, normalised by the data's mean and standard deviation.
        label: [B, H, W] int64 in 0..C-1, 255 is ignored.
        index: [B] int64, the sample's place in its listing.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


class SegEvalBatch(NamedTuple):
    """Whole images of different sizes.

    Attributes:
        images: B tensors [C, h, w] float32, resized for evaluation and normalised, not padded.
        labels: B tensors [H, W] int64 at the size of the file, in 0..C-1, 255 is ignored.
        index: [B] int64, the sample's place in its listing; -1 marks padding, which no metric counts.
    """

    images: list[Tensor]
    labels: list[Tensor]
    index: Tensor  # type: ignore[assignment]


class SegSample(NamedTuple):
    """One sample.

    Attributes:
        image: [C, h, w] float32, normalised.
        label: [H, W] int64, 255 is ignored.
        index: the sample's place in its listing; -1 marks padding.
        whole: whether this is a whole image for evaluation, not a training crop.
    """

    image: Tensor
    label: Tensor
    index: int  # type: ignore[assignment]
    whole: bool


class SegTrainDataset(DrawDataset):
    """Random crops by (seed, epoch, index).

    Args:
        pairs: image and label files.
        coding: of the label maps.
        transform: turns image and label into two tensors.
        seed: of the augmentation.
        reading: which value is white in images of more than 8 bits, or which bands are read; its `upright` is not used,
            see `read_pair`.
    """

    def __init__(
        self, pairs: Pairs, coding: Coding, transform: SegTrainTransform, seed: int, reading: AnyReading = UPRIGHT
    ) -> None:
        self.pairs, self.coding, self.transform, self.seed, self.reading = pairs, coding, transform, seed, reading

    def __len__(self) -> int:
        return len(self.pairs)

    def path_of(self, index: int) -> str:
        """Returns the path of one image."""
        return self.pairs.image(index)

    def __getitem__(self, draw: Draw) -> SegSample:
        index = max(draw.index, 0)
        image, label = read_pair(
            self.pairs.image(index), self.pairs.label(index), self.coding, self.reading, self.pairs.colours
        )
        with seeded(self.seed, draw.epoch, index):
            return SegSample(*self.transform(image, label), draw.index, whole=False)


class SegEvalDataset(DrawDataset):
    """Whole images, with labels at the size of the file.

    Args:
        pairs: image and label files.
        coding: of the label maps.
        transform: turns an image into a tensor.
        reading: which value is white in images of more than 8 bits, or which bands are read; its `upright` is not used,
            see `read_pair`.
    """

    def __init__(
        self, pairs: Pairs, coding: Coding, transform: SegEvalTransform, reading: AnyReading = UPRIGHT
    ) -> None:
        self.pairs, self.coding, self.transform, self.reading = pairs, coding, transform, reading

    def __len__(self) -> int:
        return len(self.pairs)

    def path_of(self, index: int) -> str:
        """Returns the path of one image."""
        return self.pairs.image(index)

    def __getitem__(self, draw: Draw) -> SegSample:
        index = max(draw.index, 0)
        image, label = read_pair(
            self.pairs.image(index), self.pairs.label(index), self.coding, self.reading, self.pairs.colours
        )
        return SegSample(self.transform(image), torch.from_numpy(label).long(), draw.index, whole=True)


def collate_scenes(samples: list[SegSample]) -> SegBatch | SegEvalBatch:
    """Returns training crops stacked as a `SegBatch`, and whole images listed as a `SegEvalBatch`."""
    images, labels, indices, whole = zip(*samples, strict=True)
    index = torch.tensor(indices)
    if whole[0]:
        return SegEvalBatch(list(images), list(labels), index)
    return SegBatch(default_collate(list(images)), default_collate(list(labels)), index)
