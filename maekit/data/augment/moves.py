"""RandAugment's shears and translations, three times faster than Pillow's transform and the same pixels.

Pillow samples 16 neighbours of each pixel in double precision. A shear or a translation moves along one axis only: the
other axis's weights are 0, 1, 0, 0, and all pixels of a row (or column) lie equally far between their neighbours. So
four neighbours are enough, and their weights are one set a row. This too is in double precision, and the fraction is
cut off as Pillow does it: only a value that is whole but for rounding can come out one lower or higher.

The functions take what timm's take.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image

Words = np.ndarray[tuple[int, int], np.dtype[np.uint32]]
"""Pixels [H, W] of four bytes: red, green, blue and one without meaning, as Pillow keeps them."""


def shear_x(image: Image.Image, factor: float, *, fillcolor: tuple[int, int, int], **_: Any) -> Image.Image:
    """Moves each row by `factor` pixels a row; see timm's `shear_x`."""
    return _image(_move_rows(_words(image), factor * (np.arange(image.height) + 0.5), fillcolor))


def shear_y(image: Image.Image, factor: float, *, fillcolor: tuple[int, int, int], **_: Any) -> Image.Image:
    """Moves each column by `factor` pixels a column; see timm's `shear_y`."""
    moved = _move_rows(_transposed(_words(image)), factor * (np.arange(image.width) + 0.5), fillcolor)
    return _image(_transposed(moved))


def translate_x(image: Image.Image, share: float, *, fillcolor: tuple[int, int, int], **_: Any) -> Image.Image:
    """Moves the image by a share of its width; see timm's `translate_x_rel`."""
    return _image(_move_rows(_words(image), np.full(image.height, share * image.width), fillcolor))


def translate_y(image: Image.Image, share: float, *, fillcolor: tuple[int, int, int], **_: Any) -> Image.Image:
    """Moves the image by a share of its height; see timm's `translate_y_rel`."""
    moved = _move_rows(_transposed(_words(image)), np.full(image.width, share * image.height), fillcolor)
    return _image(_transposed(moved))


def _move_rows(words: Words, shift: np.ndarray, fill: tuple[int, int, int]) -> Words:
    """Samples row y at x + shift[y], bicubic; edge pixels go on outwards, and what lies outside is filled."""
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
    """Cuts `length` pixels from each row at its own start, which may lie outside: edges are repeated."""
    height, width = words.shape
    left = max(0, -int(starts.min()))
    right = max(0, int(starts.max()) + length - width)
    padded = np.empty((height, left + width + right), np.uint32)
    padded[:, :left], padded[:, left : left + width], padded[:, left + width :] = words[:, :1], words, words[:, -1:]
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=1)
    return np.ascontiguousarray(windows[np.arange(height), starts + left])


def _between(near: Words, d: torch.Tensor) -> Words:
    """Interpolates [H, W + 3] pixels, by d [H, 1] of the way from each row's second neighbour to its third.

    Pillow's cubic, written in the neighbours' differences: where they are equal it gives their value exactly, which
    counts since Pillow then cuts the fraction off.
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
