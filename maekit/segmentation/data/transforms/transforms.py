"""From an image and its label map to the tensors of a segmentation model."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from maekit.data.images.transforms import Normalise
from maekit.errors import UserError
from maekit.segmentation.data.transforms.resize import evaluation_size, resize_image

IGNORED = 255


class SegTrainTransform:
    """Random resize, crop, mirroring and colours, then normalised and padded at the bottom and the right.

    The joint steps are albumentations' (`seg_joint`). Normalising is ours: the same up to float32's rounding, in a
    tenth of the time. All draws come from Python's `random` as it stands, which `maekit.base.data.seeded` sets.

    Args:
        crop_size: height and width of the result in pixels.
        resize: the most that the longer and the shorter side may be, before the random factor.
        resize_ratio: smallest and largest factor on both.
        cat_max_ratio: below this share of a crop's labelled pixels must its largest class stay, in ten tries.
        horizontal_flip: probability of mirroring.
        photometric: distort the colours.
        mean: of the three channels, in 0..1.
        std: of the three channels, above 0.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        resize: Sequence[int],
        resize_ratio: Sequence[float],
        cat_max_ratio: float,
        horizontal_flip: float,
        photometric: bool,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        check_sizes(crop_size, resize)
        if len(resize_ratio) != 2 or not 0 < resize_ratio[0] <= resize_ratio[1]:
            raise UserError(f"data.resize_ratio: got {list(resize_ratio)}, expected two numbers above 0, smaller first")
        if not 0 < cat_max_ratio <= 1:
            raise UserError(f"data.cat_max_ratio: got {cat_max_ratio}, expected above 0 and at most 1 (any crop)")
        if not 0 <= horizontal_flip <= 1:
            raise UserError(f"data.horizontal_flip: got {horizontal_flip}, expected a probability of 0 to 1")
        from maekit.segmentation.data.transforms.joint import joint_transform

        self.crop_size = crop_size
        self.normalise = Normalise(mean, std)
        self.joint = joint_transform(
            crop_size=crop_size,
            resize=resize,
            resize_ratio=resize_ratio,
            cat_max_ratio=cat_max_ratio,
            horizontal_flip=horizontal_flip,
            photometric=photometric,
        )

    def __call__(self, image: Image.Image | np.ndarray, label: np.ndarray) -> tuple[Tensor, Tensor]:
        """Transforms one sample.

        Args:
            image: RGB, of any size.
            label: [H, W] uint8, of the image's size; 255 is ignored.

        Returns:
            [3, S, S] float32 and [S, S] int64 of the crop size S: the padding is 0 after normalisation, and ignored.
        """
        pixels, classes = self.augment(np.asarray(image), label)
        picture = self.normalise.planes(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
        target = torch.from_numpy(classes.astype(np.int64))
        right, bottom = self.crop_size - target.shape[1], self.crop_size - target.shape[0]
        if right or bottom:
            picture, target = (
                pad(picture, (0, right, 0, bottom)),
                pad(target, (0, right, 0, bottom), value=IGNORED),
            )
        return picture, target

    def augment(self, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns [h, w, 3] and [h, w] uint8 after all random steps, no side above the crop size."""
        # One stream for all steps. Given a seed, albumentations starts a stream with it for each step: their first
        # draws are then the same number, and every image enlarged beyond some factor is mirrored, no other is.
        stream = random.Random(random.getrandbits(64))
        self.joint.set_random_state(np.random.default_rng(stream.getrandbits(64)), stream)
        done = self.joint(image=image, mask=label)
        return done["image"], done["mask"]


class SegEvalTransform:
    """Fits an image into a box, ratio kept, with no side below the crop; then normalises it. Labels stay as they are.

    Args:
        resize: the most that the longer and the shorter side may be.
        min_side: the least that the shorter side may be, see `evaluation_size`.
        mean: of the three channels, in 0..1.
        std: of the three channels, above 0.
        divisor: both sides are rounded up to its multiple; None for any size.
        white: what became 255 in pictures of more than 8 bits; None where there were none. It goes with a checkpoint.
        clip: whether brighter values became white; see `decode.Reading`, which does both.
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
        self.level: dict[str, Any] = {} if white is None else {"white": white, "clip": clip}
        self.resize, self.min_side, self.divisor = list(resize), min_side, divisor
        self.normalise = Normalise(mean, std)

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns [3, h, w] float32 of an RGB image of any size."""
        size = evaluation_size(image.size, self.resize, self.min_side, self.divisor)
        pixels = resize_image(np.asarray(image), size)
        return self.normalise.planes(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))

    def describe(self) -> dict[str, Any]:
        """Returns plain values; `SegEvalTransform(**description)` is this transform again."""
        sizes = {"resize": self.resize, "min_side": self.min_side, "divisor": self.divisor}
        return {**sizes, **self.normalise.describe(), **self.level}


def check_sizes(crop_size: int, resize: Sequence[int]) -> None:
    """Refuses sizes without a pixel.

    Raises:
        UserError: with what was given.
    """
    if crop_size < 1:
        raise UserError(f"data.crop_size: got {crop_size}, expected 1 or more pixels")
    if len(resize) != 2 or min(resize) < 1:
        raise UserError(f"data.resize: got {list(resize)}, expected the longest and the shortest side in pixels")
