"""How images are prepared for exported weights: the evaluation transform, and what its file says of it."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from maekit.system.size import HeightWidth
from maekit.weights.load.classes import file_classes
from maekit.weights.read.metadata import normalisation, recorded_input
from maekit.weights.state.state_file import StateFile, relative_grid, stored_grid

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # mean, std
_SIDE = 224  # pixels of ImageNet's evaluation
_CROP = 0.875  # of ImageNet's evaluation: 224 of 256 px; facebookresearch/mae @ efb2a80 util/datasets.py


class Transform(NamedTuple):
    """The evaluation transform of an image: resize, crop the centre, normalise.

    Attributes:
        size: of the result in pixels.
        short: the short side in pixels to which the image is resized before the crop; None if `size` is oblong, to
            which the image is squeezed.
        crop_fraction: the crop's share of that side.
        mean: of the channels, in 0..1.
        std: of the channels.
        assumed: what of it the file does not say, in words.
        unit: value of a pixel that counts as 1 in mean and std: 255 of 8 bits.
    """

    size: HeightWidth
    short: int | None
    crop_fraction: float
    mean: list[float]
    std: list[float]
    assumed: tuple[str, ...]
    unit: float = 255.0

    def lines(self) -> list[str]:
        """Returns the transform in one line, and a second line if something was assumed."""
        height, width = self.size
        how = f"short side to {self.short} px (bicubic), then the centre" if self.short else "squeezed (bicubic) to"
        deep = "" if self.unit == 255 else f" of pixels divided by {self.unit:g}"
        text = f"transform: {how} {height}x{width} px, mean {self.mean}, std {self.std}{deep}"
        missing = f"assumed: ImageNet's {' and '.join(self.assumed)}, since the file does not say them"
        return [text, missing] if self.assumed else [text]


def evaluation_transform(state: StateFile, size: HeightWidth) -> Transform:
    """Returns the transform that a run's card or a configuration gives, at the size in pixels of the positions."""
    colours, fraction = normalisation(state.meta), recorded_input(state.meta).get("crop_fraction")
    known = isinstance(fraction, (int, float)) and 0 < fraction <= 1
    share = float(fraction) if known and fraction is not None else _CROP
    assumed = (*(() if colours else ("mean and deviation",)), *(() if known else (f"crop of {_CROP}",)))
    mean, std = colours or IMAGENET
    channels = state.tensors["patch_embed.proj.weight"].shape[1]
    if len(mean) != channels:  # ImageNet's, of other bands than its own: their average
        mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
    short = int(size.height / share) if size.height == size.width else None
    unit = float(recorded_input(state.meta).get("unit") or 255)
    return Transform(size, short, share, list(mean), list(std), assumed, unit)


def image_size(state: StateFile, tensors: Mapping[str, Tensor]) -> HeightWidth | None:
    """Returns the size in pixels that a table of positions is for; None if its grid is not known.

    Without a table of positions or of relative biases, as with rotary positions, it is what the file says of its
    images, else 224 or a little less.
    """
    positions, patch = tensors.get("pos_embed"), state.shape.patch_size
    if patch is None:
        return None
    if positions is None and (grid := relative_grid(state)):
        return HeightWidth(grid[0] * patch, grid[1] * patch)
    if positions is None:
        recorded = recorded_input(state.meta).get("image_size")
        side = recorded if type(recorded) is int else _SIDE
        return HeightWidth(side // patch * patch, side // patch * patch)
    rows = positions.shape[1]
    own = state.tensors.get("pos_embed")
    left = state.shape.class_rows if own is not None and own.shape[1] == rows else 0  # else folded already
    grid = stored_grid(state, rows - left)
    return HeightWidth(grid[0] * patch, grid[1] * patch) if grid else None


def class_names(state: StateFile, count: int) -> tuple[str, ...]:
    """Returns the names of a head's classes; empty if the file does not name as many as `count`."""
    classes = file_classes(state.meta)
    return classes.names if classes and len(classes.names) == count else ()
