"""The images of a listing as samples: read, transformed, and seeded by (seed, epoch, index)."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from maekit.base.data import DrawDataset, seeded
from maekit.base.spec import Draw
from maekit.data.augment.augment import TrainTransform
from maekit.data.augment.reduced_crop import ReducedCrops
from maekit.data.folders.listing import Listing
from maekit.data.images.batch import Sample
from maekit.data.images.decode import UPRIGHT, Reading
from maekit.data.images.fast_decode import load_decoder, read_pixels
from maekit.data.images.reading_of import AnyReading, at_least
from maekit.data.images.transforms import EvalTransform


class FolderDataset(DrawDataset):
    """The images of a listing, one sample a draw.

    Args:
        listing: the images with their labels.
        transform: image to [C, H, W] float32.
        seed: of the augmentation; None if the transform draws nothing.
        decoder: how images for a `TrainTransform` are read: `fast` as tensors, `pillow` as PIL images. An
            `EvalTransform` always gets PIL images. Bands are tensors for both.
        reading: whether pictures are turned, and which value is white; or which bands are read.
        reduced: decode JPEGs for a `TrainTransform` no larger than the crop needs. An `EvalTransform` says it itself.
    """

    def __init__(
        self,
        listing: Listing,
        transform: TrainTransform | EvalTransform,
        seed: int | None,
        *,
        decoder: Literal["fast", "pillow"] = "pillow",
        reading: AnyReading = UPRIGHT,
        reduced: bool = False,
    ) -> None:
        if isinstance(transform, EvalTransform):
            reading = at_least(reading, transform.least)
        self.listing, self.transform, self.seed, self.reading = listing, transform, seed, reading
        self.read: Callable[[str], Any] = reading
        self.crops: ReducedCrops | None = None
        if isinstance(transform, TrainTransform) and isinstance(reading, Reading):
            fast = decoder == "fast"
            self.read = partial(read_pixels, reading=reading) if fast else reading
            self.crops = ReducedCrops(transform, reading, fast) if reduced else None
            if fast:  # of millions of names a few tell
                load_decoder(listing.names[at] for at in range(0, len(listing), len(listing) // 64 or 1))

    def __len__(self) -> int:
        return len(self.listing)

    def path_of(self, index: int) -> str:
        """Returns the path of one image."""
        return self.listing.path(index)

    def __getitem__(self, draw: Draw) -> Sample:
        index = max(draw.index, 0)
        label = self.listing.label(index)
        path = self.listing.path(index)
        if self.seed is not None and self.crops is not None:
            with seeded(self.seed, draw.epoch, index):
                return self.crops(path), label, draw.index
        image = self.read(path)
        if self.seed is None:
            return self.transform(image), label, draw.index
        with seeded(self.seed, draw.epoch, index):
            return self.transform(image), label, draw.index
