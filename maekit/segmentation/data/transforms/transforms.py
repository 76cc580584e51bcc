"""From an image and its label map to the tensors of a segmentation model."""

import random
from collections.abc import Sequence
from typing import NotRequired, TypedDict, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.transforms import Normalise, given_bands
from maekit.segmentation.data.transforms.resize import evaluation_size, resize_image
from maekit.segmentation.data.transforms.settings import SegAugmentation, check_augmentation, check_sizes

IGNORED = 255


class SegTrainTransform:
    """Random resize, crop, mirroring and colours, then normalised and padded at the bottom and the right.

    Resize, crop and mirroring are albumentations' (`joint.py`). Normalising is ours: equal up to float32's rounding,
    in a tenth of the time. All draws come from Python's `random`, which `maekit.base.data.seeded` seeds.

    Args:
        numbers: of the augmentation.
        bands: the channels with their mean and std, where images are not 8-bit RGB, for which the colours' steps are.

    Attributes:
        left_out: steps that bands leave out.

    Raises:
        UserError: a number is out of range; it names the flag.
    """

    def __init__(self, numbers: SegAugmentation, bands: Bands | None = None) -> None:
        check_augmentation(numbers)
        from maekit.segmentation.data.transforms.joint import joint_transform

        self.crop_size = numbers.crop_size
        self.normalise = Normalise(numbers.mean, numbers.std, bands)
        self.joint = joint_transform(numbers, colours=bands is None)
        self.left_out = ("photometric distortion",) if numbers.photometric and bands is not None else ()

    def __call__(self, image: Image.Image | np.ndarray | Tensor, label: np.ndarray) -> tuple[Tensor, Tensor]:
        """Returns one training crop: [C, S, S] float32 and [S, S] int64 of the crop size S.

        Padding is 0 in the normalised image and 255, ignored, in the labels.

        Args:
            image: RGB, of any size; or [H, W, C] of bands.
            label: [H, W] uint8, of the image's size; 255 is ignored.
        """
        pixels, classes = self.augment(np.asarray(image), label)
        picture = self.normalise.planes(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
        target = torch.from_numpy(classes.astype(np.int64))
        right, bottom = self.crop_size - target.shape[1], self.crop_size - target.shape[0]
        if right or bottom:
            picture = pad(picture, (0, right, 0, bottom))
            target = pad(target, (0, right, 0, bottom), value=IGNORED)
        return picture, target

    def augment(self, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns [h, w, C] and [h, w] uint8 after all random steps, no side above the crop size."""
        # All steps share one stream. Given a seed, albumentations starts a stream with it for each step: the first
        # draws of all steps are then equal, so that exactly the images enlarged beyond some factor are mirrored.
        stream = random.Random(random.getrandbits(64))
        self.joint.set_random_state(np.random.default_rng(stream.getrandbits(64)), stream)
        done = self.joint(image=image, mask=label)
        return done["image"], done["mask"]


class EvalDescription(TypedDict):
    """The arguments of a `SegEvalTransform`, as a checkpoint keeps them."""

    resize: list[int]
    min_side: int
    divisor: int | None
    mean: list[float]
    std: list[float]
    white: NotRequired[float]
    clip: NotRequired[bool]
    bands: NotRequired[list[str]]
    file_bands: NotRequired[list[str]]
    dtype: NotRequired[str]
    unit: NotRequired[float]
    shown_bands: NotRequired[list[str]]


class SegEvalTransform:
    """Fits an image into a box, ratio kept, with no side below the crop; then normalises it. Labels keep their size.

    Args:
        resize: limits for the longer and the shorter side in pixels.
        min_side: smallest side of the result, see `evaluation_size`.
        mean: of red, green and blue, in 0..1; of bands in the unit of the file.
        std: of the same, above 0.
        divisor: both sides are rounded up to its multiple; None for any size.
        white: value that was read as 255 in images of more than 8 bits; None where there were none. `decode.Reading`
            applies it; it is here so that a checkpoint keeps it.
        clip: whether brighter values were clipped to white, likewise.
        bands: names of the channels, where images are not 8-bit RGB; this and the next are those of `Bands`.
        file_bands: names of a file's channels.
        dtype: of the files.
        unit: value of the file that counts as 1; None without bands.
        shown_bands: those that pictures show.
    """

    def __init__(
        self,
        *,
        resize: Sequence[int],
        min_side: int,
        mean: Sequence[float],
        std: Sequence[float],
        divisor: int | None = None,
        white: float | None = None,
        clip: bool = False,
        bands: Sequence[str] = (),
        file_bands: Sequence[str] = (),
        dtype: str = "",
        unit: float | None = None,
        shown_bands: Sequence[str] = (),
    ) -> None:
        check_sizes(min_side, resize)
        self.white, self.clip = white, clip
        self.resize, self.min_side, self.divisor = list(resize), min_side, divisor
        self.normalise = Normalise(mean, std, given_bands(bands, file_bands, dtype, mean, std, unit, shown_bands))

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Returns [C, h, w] float32 of an image of any size: PIL's in RGB, or pixels [H, W, C] of bands."""
        size = evaluation_size(size_of(image), self.resize, self.min_side, self.divisor)
        pixels = resize_image(np.asarray(image), size)
        return self.normalise.planes(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))

    def describe(self) -> EvalDescription:
        """Returns the arguments as plain values, without `white` and `clip` where no image has more than 8 bits."""
        description = {"resize": self.resize, "min_side": self.min_side, "divisor": self.divisor}
        level = {} if self.white is None else {"white": self.white, "clip": self.clip}
        return cast(EvalDescription, {**description, **self.normalise.describe(), **level})
