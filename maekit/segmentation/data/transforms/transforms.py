"""From an image and its label map to the tensors of a segmentation model."""

import random
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from maekit.data.images.transforms import Normalise
from maekit.segmentation.data.transforms.resize import evaluation_size, resize_image
from maekit.segmentation.data.transforms.settings import SegAugmentation, check_augmentation, check_sizes
from maekit.system.size import HeightWidth

IGNORED = 255


class SegTrainTransform:
    """Random resize, crop, mirroring and colours, then normalised and padded at the bottom and the right.

    Resize, crop and mirroring are albumentations' (`joint.py`). Normalising is ours: equal up to float32's rounding,
    in a tenth of the time. All draws come from Python's `random`, which `maekit.base.data.seeded` seeds.

    Raises:
        UserError: a number is out of range; it names the flag.
    """

    def __init__(self, numbers: SegAugmentation) -> None:
        check_augmentation(numbers)
        from maekit.segmentation.data.transforms.joint import joint_transform

        self.crop_size = numbers.crop_size
        self.normalise = Normalise(numbers.mean, numbers.std)
        self.joint = joint_transform(numbers)

    def __call__(self, image: Image.Image | np.ndarray, label: np.ndarray) -> tuple[Tensor, Tensor]:
        """Returns one training crop: [3, S, S] float32 and [S, S] int64 of the crop size S.

        Padding is 0 in the normalised image and 255, ignored, in the labels.

        Args:
            image: RGB, of any size.
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
        """Returns [h, w, 3] and [h, w] uint8 after all random steps, no side above the crop size."""
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


class SegEvalTransform:
    """Fits an image into a box, ratio kept, with no side below the crop; then normalises it. Labels keep their size.

    Args:
        resize: limits for the longer and the shorter side in pixels.
        min_side: smallest side of the result, see `evaluation_size`.
        mean: of the three channels, in 0..1.
        std: of the three channels, above 0.
        divisor: both sides are rounded up to its multiple; None for any size.
        white: value that was read as 255 in images of more than 8 bits; None where there were none. `decode.Reading`
            applies it; it is here so that a checkpoint keeps it.
        clip: whether brighter values were clipped to white, likewise.
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
    ) -> None:
        check_sizes(min_side, resize)
        self.white, self.clip = white, clip
        self.resize, self.min_side, self.divisor = list(resize), min_side, divisor
        self.normalise = Normalise(mean, std)

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns [3, h, w] float32 of an RGB image of any size."""
        size = evaluation_size(HeightWidth(image.height, image.width), self.resize, self.min_side, self.divisor)
        pixels = resize_image(np.asarray(image), size)
        return self.normalise.planes(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))

    def describe(self) -> EvalDescription:
        """Returns the arguments as plain values, without `white` and `clip` where no image has more than 8 bits."""
        numbers = self.normalise.describe()
        description = EvalDescription(
            resize=self.resize, min_side=self.min_side, divisor=self.divisor, mean=numbers["mean"], std=numbers["std"]
        )
        if self.white is not None:
            description |= {"white": self.white, "clip": self.clip}
        return description
