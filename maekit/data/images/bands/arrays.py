"""Images in NumPy's own files (.npy): [H, W], [H, W, C] or [C, H, W]."""

from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from maekit.data.images.bands.file_form import FileForm, UnfitError, dtype_word

MAGIC = b"\x93NUMPY"


def look(path: Path, count: int | None) -> FileForm:
    """Returns the form of an array; `count` is the number of channels where it is known, which decides the axis.

    Raises:
        UnfitError: it has other axes, or does not show which of them are the channels.
        ValueError: it is damaged.
    """
    shape, kind = _header(path)
    axis = _channel_axis(shape, count)
    sides = tuple(side for place, side in enumerate(shape) if place != axis)
    channels = 1 if axis is None else shape[axis]
    return FileForm(sides[0], sides[1], ("",) * channels, dtype_word(kind))


def read(path: Path, count: int | None) -> np.ndarray:
    """Returns the pixels [H, W, C], in the type that the file has."""
    pixels: np.ndarray = np.load(path, allow_pickle=False)
    axis = _channel_axis(pixels.shape, count)
    return pixels[..., None] if axis is None else np.moveaxis(pixels, axis, -1)


def _header(path: Path) -> tuple[tuple[int, ...], str]:
    with path.open("rb") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize + file.tell()
        if path.stat().st_size < needed:
            raise ValueError(f"it has {path.stat().st_size:,} bytes of {needed:,}")
    return tuple(int(side) for side in shape), dtype.name


def _channel_axis(shape: tuple[int, ...], count: int | None) -> int | None:
    """Returns the axis of the channels, 0 or 2: the one of `count`, else the shorter; None for two axes."""
    if len(shape) == 2:
        return None
    if len(shape) != 3:
        raise UnfitError(f"an array of shape {list(shape)}, expected [H, W], [H, W, C] or [C, H, W]; save it so")
    first, last = shape[0], shape[2]
    if count is not None and (first == count) != (last == count):
        return 0 if first == count else 2
    if first == last or 0 in shape:
        if 0 in shape:
            return 2
        raise UnfitError(
            f"an array of shape {list(shape)}, whose first and last axis are alike: which of them are the channels is "
            "unclear; save it as [H, W, C] with another height"
        )
    return 0 if first < last else 2
