"""Turns an image and the shapes of its objects into the tensors of a detector, with Pillow and NumPy.

albumentations cannot be used: it has no polygons (its keypoints vanish beyond an edge, where a polygon must be cut),
and it resizes with OpenCV, while the published numbers were made with Pillow.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.pixels import resize, size_of
from maekit.data.images.transforms import Normalise, given_bands
from maekit.detection.data.batch import InstanceMask
from maekit.detection.data.polygons import clip_polygon
from maekit.errors import UserError
from maekit.system.size import HeightWidth

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
LEAST_SIDE = 1e-5  # pixels: narrower boxes are dropped, as in detectron2


class Move(NamedTuple):
    """A random geometry: the image is mirrored, then resized, then cut to a window.

    Attributes:
        flip: mirror left and right.
        before: the image's size.
        resized: its size after resizing.
        top: first row of the window.
        left: first column of the window.
        after: size of the window, which lies within the resized image.
    """

    flip: bool
    before: HeightWidth
    resized: HeightWidth
    top: int
    left: int
    after: HeightWidth

    def picture(self, image: Image.Image | Tensor) -> np.ndarray:
        """Returns [h, w, 3] uint8 of an RGB image; of pixels [H, W, C] of bands [h, w, C]."""
        if not isinstance(image, Tensor):
            return self._pixels(image, BILINEAR)
        large = resize(image.flip(1) if self.flip else image, self.resized, "bilinear")
        return large[self.top : self.top + self.after.height, self.left : self.left + self.after.width].numpy()

    def shape(self, mask: InstanceMask) -> InstanceMask | None:
        """Returns the part of a shape inside the window, polygons or a bitmap [h, w] of [H, W]; None if it is empty."""
        if mask.bitmap is not None:
            bitmap = self._pixels(Image.fromarray(mask.bitmap.astype(np.uint8)), NEAREST) > 0
            return InstanceMask((), bitmap) if bitmap.any() else None
        seen = tuple(piece for outline in mask.polygons for piece in self._outline(outline))
        return InstanceMask(seen, None) if seen else None

    def box(self, box: np.ndarray) -> np.ndarray:
        """Returns the part of a box x0 y0 x1 y1 inside the window, [4] float32; it may be empty."""
        x, y = box[[0, 2]], box[[1, 3]]
        if self.flip:
            x = self.before.width - x[::-1]
        x = x * (self.resized.width / self.before.width) - self.left
        y = y * (self.resized.height / self.before.height) - self.top
        x, y = x.clip(0, self.after.width), y.clip(0, self.after.height)
        return np.array([x[0], y[0], x[1], y[1]], dtype=np.float32)

    def _pixels(self, image: Image.Image, resampling: Image.Resampling) -> np.ndarray:
        if self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        large = np.asarray(image.resize((self.resized.width, self.resized.height), resampling))
        return large[self.top : self.top + self.after.height, self.left : self.left + self.after.width]

    def _outline(self, outline: np.ndarray) -> list[np.ndarray]:
        x, y = outline[::2], outline[1::2]
        if self.flip:
            x = self.before.width - x  # not 1 less: it is a point, not a pixel
        x, y = x * (self.resized.width / self.before.width), y * (self.resized.height / self.before.height)
        low, high = (self.left, self.top), (self.left + self.after.width, self.top + self.after.height)
        pieces = clip_polygon(np.stack([x, y], axis=1).reshape(-1), low, high)
        return [(piece.reshape(-1, 2) - np.array(low)).reshape(-1) for piece in pieces]


class DetTrainTransform:
    """Large-scale jitter as ViTDet has it: mirror, resize by a random factor, cut to the square, normalise, pad.

    It draws from NumPy's generator in detectron2's order (mirror, factor, place; one number serves both directions of
    the place): the same state gives detectron2's picture.

    Args:
        image_size: height and width of the result in pixels.
        scale_range: smallest and largest factor on the size that just fits the square.
        horizontal_flip: probability of mirroring.
        mean: of the three channels, in 0..1.
        std: of the three channels, above 0.
        bands: the channels with their own mean and std, where images are not 8-bit RGB.
    """

    def __init__(
        self,
        *,
        image_size: int,
        scale_range: Sequence[float],
        horizontal_flip: float,
        mean: Sequence[float],
        std: Sequence[float],
        bands: Bands | None = None,
    ) -> None:
        check_image_size(image_size)
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise UserError(f"data.scale_range: got {list(scale_range)}, expected two numbers above 0, smaller first")
        if not 0 <= horizontal_flip <= 1:
            raise UserError(f"data.horizontal_flip: got {horizontal_flip}, expected a probability of 0 to 1")
        self.image_size, self.horizontal_flip = image_size, horizontal_flip
        self.scale_range = scale_range[0], scale_range[1]
        self.normalise = Normalise(mean, std, bands)

    def __call__(
        self, image: Image.Image | Tensor, masks: Sequence[InstanceMask], labels: Sequence[int]
    ) -> tuple[Tensor, HeightWidth, Tensor, Tensor, list[InstanceMask]]:
        """Transforms one sample.

        Args:
            image: RGB, of any size; or [H, W, C] of bands.
            masks: shapes of the objects in the image's pixels, bitmaps of the image's size.
            labels: one a shape.

        Returns:
            [C, S, S] float32; size of the picture in it; boxes [K, 4] float32, labels [K] int64 and shapes of the
            objects that are visible in the picture. The boxes are those of the visible parts.
        """
        return self.moved(self.draw(size_of(image)), image, masks, labels)

    def moved(
        self, move: Move, image: Image.Image | Tensor, masks: Sequence[InstanceMask], labels: Sequence[int]
    ) -> tuple[Tensor, HeightWidth, Tensor, Tensor, list[InstanceMask]]:
        """Transforms one sample by a geometry that is drawn already; see `__call__`.

        The image may be decoded at a part of its size. The shapes are in the pixels of the full one.
        """
        found = []
        for mask, label in zip(masks, labels, strict=True):
            seen = move.shape(mask)
            if seen is not None:
                box = box_of(seen)
                if min(box[2] - box[0], box[3] - box[1]) > LEAST_SIDE:
                    found.append((box, label, _enlarged(seen, self.image_size)))
        picture = padded(move.picture(image), self.image_size, self.normalise)
        boxes = torch.from_numpy(np.array([box for box, _, _ in found], dtype=np.float32).reshape(-1, 4))
        kept = torch.tensor([label for _, label, _ in found], dtype=torch.int64)
        return picture, move.after, boxes, kept, [mask for _, _, mask in found]

    def moved_boxes(
        self, move: Move, image: Image.Image | Tensor, boxes: Sequence[np.ndarray], labels: Sequence[int]
    ) -> tuple[Tensor, HeightWidth, Tensor, Tensor]:
        """Transforms one sample whose objects have boxes x0 y0 x1 y1 and no shapes; see `moved`.

        A mirrored, resized and cut box is the box of what it was around only where that fills it: as in detectron2.
        """
        pairs = [(move.box(box), label) for box, label in zip(boxes, labels, strict=True)]
        found = [(box, label) for box, label in pairs if min(box[2] - box[0], box[3] - box[1]) > LEAST_SIDE]
        picture = padded(move.picture(image), self.image_size, self.normalise)
        seen = torch.from_numpy(np.array([box for box, _ in found], dtype=np.float32).reshape(-1, 4))
        return picture, move.after, seen, torch.tensor([label for _, label in found], dtype=torch.int64)

    def draw(self, size: HeightWidth) -> Move:
        """Draws the geometry for an image of some size."""
        flip = np.random.uniform() < self.horizontal_flip
        reach = self.image_size * np.random.uniform(*self.scale_range)
        factor = min(reach / size.height, reach / size.width)
        height, width = (max(1, round(side * factor)) for side in size)
        place = np.random.uniform()
        top, left = (round(max(side - self.image_size, 0) * place) for side in (height, width))
        after = HeightWidth(min(height, self.image_size), min(width, self.image_size))
        return Move(bool(flip), size, HeightWidth(height, width), top, left, after)


class DetEvalTransform:
    """Fits an image into the square, ratio kept, normalises it and pads it below and on the right with zeros.

    Args:
        image_size: height and width of the result in pixels.
        mean: of red, green and blue, in 0..1; of bands in the unit of the file.
        std: of the same, above 0.
        white: value that became 255 in pictures of more than 8 bits, None without such pictures; checkpoints hold it.
        clip: whether brighter values became white; see `decode.Reading`, which does both.
        bands: names of the channels, where images are not 8-bit RGB; this and the next are those of `Bands`.
        file_bands: names of a file's channels.
        dtype: of the files.
        unit: value of the file that counts as 1; None without bands.
        shown_bands: those that pictures show.
    """

    def __init__(
        self,
        *,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        white: float | None = None,
        clip: bool = False,
        bands: Sequence[str] = (),
        file_bands: Sequence[str] = (),
        dtype: str = "",
        unit: float | None = None,
        shown_bands: Sequence[str] = (),
    ) -> None:
        check_image_size(image_size)
        self.image_size = image_size
        self.level: dict[str, float | bool] = {} if white is None else {"white": white, "clip": clip}
        self.normalise = Normalise(mean, std, given_bands(bands, file_bands, dtype, mean, std, unit, shown_bands))

    def __call__(self, image: Image.Image | Tensor) -> tuple[Tensor, HeightWidth]:
        """Returns [C, S, S] float32 of an RGB image or of pixels [H, W, C], and the size of the picture in it."""
        size = evaluation_size(size_of(image), self.image_size)
        if isinstance(image, Tensor):
            return padded(resize(image, size, "bilinear").numpy(), self.image_size, self.normalise), size
        small = image.resize((size.width, size.height), BILINEAR)
        return padded(np.asarray(small), self.image_size, self.normalise), size

    def describe(self) -> dict[str, Any]:
        """Returns the arguments of this transform, so that `DetEvalTransform(**description)` is the same one."""
        return {"image_size": self.image_size, **self.normalise.describe(), **self.level}


def evaluation_size(size: HeightWidth, side: int) -> HeightWidth:
    """Returns the size whose longest side is `side`, as detectron2 rounds it, and at least 1 x 1.

    The shorter side is scaled to `side` first and then both are made smaller, in floating point: the order decides how
    a half is rounded.
    """
    factor = side / min(size)
    long = factor * max(size)
    again = side / long if long > side else 1.0
    short, long = max(1, int(side * again + 0.5)), max(1, int(long * again + 0.5))
    return HeightWidth(short, long) if size.height < size.width else HeightWidth(long, short)


def box_of(mask: InstanceMask) -> np.ndarray:
    """Returns the box of a shape that is not empty: [4] float32, x0 y0 x1 y1."""
    if mask.bitmap is None:
        points = np.concatenate(mask.polygons).reshape(-1, 2).astype(np.float32)
        return np.concatenate([points.min(axis=0), points.max(axis=0)])
    rows, columns = (np.flatnonzero(mask.bitmap.any(axis=axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def padded(pixels: np.ndarray, side: int, normalise: Normalise) -> Tensor:
    """Returns [C, side, side] float32 of [h, w, C]: normalised, with zeros below and on the right."""
    height, width, channels = pixels.shape
    square = torch.zeros(channels, side, side)
    square[:, :height, :width] = normalise.planes(torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C")))
    return square


def check_image_size(image_size: int) -> None:
    """Refuses a size without a pixel.

    Raises:
        UserError: with what was given.
    """
    if image_size < 1:
        raise UserError(f"data.image_size: got {image_size}, expected 1 or more pixels")


def _enlarged(mask: InstanceMask, side: int) -> InstanceMask:
    """Returns the shape with its bitmap, if it is one, padded to the square."""
    if mask.bitmap is None:
        return mask
    square = np.zeros((side, side), dtype=bool)
    square[: mask.bitmap.shape[0], : mask.bitmap.shape[1]] = mask.bitmap
    return InstanceMask((), square)
