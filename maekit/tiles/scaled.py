"""Rectangles of an image at another size, without reading the whole image."""

import numpy as np
import torch
from torch import Tensor

from maekit.system.size import HeightWidth
from maekit.tiles.region import Region
from maekit.tiles.tiled_image import TiledImage


class ScaledImage:
    """An image as a model sees it: at the size of its file, or resized (bilinear, no antialiasing).

    At the file's size the pixels are the file's. At another they are OpenCV's INTER_LINEAR of the whole image up to one
    of 255 levels, since OpenCV rounds its weights to 11 bits.

    Args:
        image: is open while regions are read.
        size: in pixels.
        rounded: whether resized pixels of whole numbers are rounded to them, as OpenCV does.
    """

    def __init__(self, image: TiledImage, size: HeightWidth, *, rounded: bool = True) -> None:
        self.image, self.size, self.rounded = image, size, rounded

    def read(self, region: Region) -> Tensor:
        """Returns pixels [h, w, C] of a region of the resized image; of RGB uint8, of bands as the file's reading."""
        if self.size == self.image.size:
            return _pixels(self.image, region)
        rows = between(region.top, region.bottom, self.size.height, self.image.size.height)
        columns = between(region.left, region.right, self.size.width, self.image.size.width)
        needed = Region(int(rows[0][0]), int(columns[0][0]), int(rows[1][-1]) + 1, int(columns[1][-1]) + 1)
        pixels = _pixels(self.image, needed)
        kind = pixels.dtype
        found = interpolated(pixels, (rows[0] - needed.top, rows[1] - needed.top, rows[2]), 0)
        found = interpolated(found, (columns[0] - needed.left, columns[1] - needed.left, columns[2]), 1)
        return found.round_().to(kind) if self.rounded and not kind.is_floating_point else found


Between = tuple[Tensor, Tensor, Tensor]


def between(start: int, stop: int, length: int, source: int) -> Between:
    """Returns for the pixels `start` to `stop` of a resized side which source pixels they lie between, and where.

    Positions are those of torch's and OpenCV's bilinear resizing (align_corners False), computed in fp32 as torch does.

    Args:
        start: the first pixel.
        stop: behind the last pixel.
        length: of the resized side.
        source: length of the side before.

    Returns:
        The lower and the upper neighbour, int64, and the weight of the upper one, fp32, 0 to 1.
    """
    scale = torch.tensor(source / length, dtype=torch.float32)
    position = (scale * (torch.arange(start, stop) + 0.5) - 0.5).clamp(min=0)
    lower = position.long().clamp(max=source - 1)
    return lower, (lower + 1).clamp(max=source - 1), position - lower


def interpolated(values: Tensor, places: Between, axis: int) -> Tensor:
    """Returns values resized along an axis, in fp32; `places` are `between`'s, counted from the values' first."""
    lower, upper, weight = (place.to(values.device) for place in places)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = weight.view(shape)
    first = values.index_select(axis, lower).float()
    return first.mul_(1 - weight).add_(values.index_select(axis, upper).float().mul_(weight))


def _pixels(image: TiledImage, region: Region) -> Tensor:
    found = image.read(region)
    return found if isinstance(found, Tensor) else torch.from_numpy(np.array(found))
