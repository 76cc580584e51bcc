"""RandAugment's slowest operations, about three times as fast as Pillow's and with the same pixels.

Shears and translations: Pillow samples 16 neighbours of each pixel in double precision. A shear or a translation moves
along one axis only: the other axis's weights are 0, 1, 0, 0, and all pixels of a row (or column) lie equally far
between their neighbours. So four neighbours are enough, and each row has one set of weights. This is in double
precision too, and the fraction is cut off as Pillow does it: only a value that is whole but for rounding can come out
one lower or higher.

The functions take the arguments of timm's functions of the same kind (timm/data/auto_augment.py).
"""

import numpy as np
import torch
from PIL import Image

Words = np.ndarray[tuple[int, int], np.dtype[np.uint32]]
"""Pixels [H, W] of four bytes: red, green, blue and one without meaning, as Pillow keeps them."""


def shear_x(image: Image.Image, factor: float, *, fillcolor: tuple[int, int, int], **_: object) -> Image.Image:
    """Moves row y by `factor * (y + 0.5)` pixels, as timm's `shear_x`; uncovered pixels get `fillcolor`."""
    return _image(_move_rows(_words(image), factor * (np.arange(image.height) + 0.5), fillcolor))


def shear_y(image: Image.Image, factor: float, *, fillcolor: tuple[int, int, int], **_: object) -> Image.Image:
    """Moves column x by `factor * (x + 0.5)` pixels, as timm's `shear_y`; uncovered pixels get `fillcolor`."""
    moved = _move_rows(_transposed(_words(image)), factor * (np.arange(image.width) + 0.5), fillcolor)
    return _image(_transposed(moved))


def translate_x(image: Image.Image, share: float, *, fillcolor: tuple[int, int, int], **_: object) -> Image.Image:
    """Moves the image by a share of its width (-1..1), as timm's `translate_x_rel`."""
    return _image(_move_rows(_words(image), np.full(image.height, share * image.width), fillcolor))


def translate_y(image: Image.Image, share: float, *, fillcolor: tuple[int, int, int], **_: object) -> Image.Image:
    """Moves the image by a share of its height (-1..1), as timm's `translate_y_rel`."""
    moved = _move_rows(_transposed(_words(image)), np.full(image.width, share * image.height), fillcolor)
    return _image(_transposed(moved))


def _move_rows(words: Words, shift: np.ndarray, fill: tuple[int, int, int]) -> Words:
    """Samples row y at x + shift[y], bicubic; border pixels are repeated, pixels from outside the image are `fill`."""
    width = words.shape[1]
    whole = np.floor(shift).astype(np.int64)
    near = _windows(words, whole - 1, width + 3)
    moved = _between(near, torch.from_numpy(shift - whole)[:, None])
    columns = np.arange(width, dtype=np.int32)
    first, end = (np.ceil(edge - 0.5 - shift).astype(np.int32)[:, None] for edge in (0, width))
    outside = (columns < first) | (columns >= end)  # whose centre lies at x + 0.5 + shift below 0 or from the width on
    np.copyto(moved, np.array([*fill, 255], np.uint8).view(np.uint32), where=outside)
    return moved


def _windows(words: Words, starts: np.ndarray, length: int) -> Words:
    """Returns [H, length]: each row from its own start on, which may lie outside the row; its border is repeated."""
    height, width = words.shape
    left = max(0, -int(starts.min()))
    right = max(0, int(starts.max()) + length - width)
    padded = np.empty((height, left + width + right), np.uint32)
    padded[:, :left], padded[:, left : left + width], padded[:, left + width :] = words[:, :1], words, words[:, -1:]
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=1)
    return np.ascontiguousarray(windows[np.arange(height), starts + left])


def _between(near: Words, d: torch.Tensor) -> Words:
    """Interpolates [H, W + 3] pixels to [H, W], at d [H, 1] of the way from each row's second neighbour to its third.

    This is Pillow's cubic, written with the neighbours' differences: where they are equal it gives their value exactly,
    which matters because Pillow then cuts the fraction off.
    """
    height, width = near.shape[0], near.shape[1] - 3
    values = torch.from_numpy(near.view(np.uint8)).double()
    steps = values[:, 4:] - values[:, :-4]
    result = torch.addcmul(values[:, 4:-8], steps[:, :-8], d * (d - 1) ** 2)
    result.addcmul_(steps[:, 4:-4], d).addcmul_(steps[:, 8:], d * d * (d - 1))
    # NumPy's cast cuts off as Pillow's does, in a third of the time of torch's.
    return result.clamp_(0, 255).numpy().astype(np.uint8).view(np.uint32).reshape(height, width)


def _words(image: Image.Image) -> Words:
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)


def _image(words: Words) -> Image.Image:
    height, width = words.shape
    return Image.frombytes("RGB", (width, height), words.tobytes(), "raw", "RGBX")


def _transposed(words: Words) -> Words:
    return np.ascontiguousarray(words.T)


def sharpness(image: Image.Image, factor: float, **_: object) -> Image.Image:
    """Blurs at a factor below 1 and sharpens above it, as timm's `sharpness`."""
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, 3 * image.width)
    smooth = Image.fromarray(_smooth(pixels).reshape(image.height, image.width, 3))
    return Image.blend(smooth, image, factor)


def _smooth(rows: np.ndarray) -> np.ndarray:
    """Pillow's SMOOTH of RGB rows [H, 3 W]: the mean of the 3 x 3 neighbours, the middle one counted 5 times.

    Border pixels do not change. The weights are thirteenths, so integers give Pillow's rounded result exactly: no
    thirteenth is a half.
    """
    wide = rows.astype(np.uint16)
    columns = wide[:-2] + wide[1:-1] + wide[2:]
    total = columns[:, :-6] + columns[:, 3:-3] + columns[:, 6:] + 4 * wide[1:-1, 3:-3]
    smooth = rows.copy()
    smooth[1:-1, 3:-3] = (total + 6) // 13
    return smooth
