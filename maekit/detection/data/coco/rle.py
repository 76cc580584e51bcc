"""COCO's run lengths of a mask: columns after each other, background and object in turn, as numbers or as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BITS, MORE, SIGN, FIRST_CHARACTER = 5, 32, 16, 48
MAX_CHARACTERS = 7  # of one number: 35 bits


def counts_of_text(text: str | bytes) -> np.ndarray:
    """Returns [runs] int64 of COCO's compressed form.

    A number is written in digits of 5 bits, the lowest first, with a bit that says whether more follow; from the
    fourth on, a number is the difference to the one two before it.

    Raises:
        ValueError: it is no such text.
    """
    digits = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8).astype(np.int64)
    digits -= FIRST_CHARACTER
    if not len(digits):
        return digits
    last = np.flatnonzero(digits & MORE == 0)
    if digits.min() < 0 or digits.max() >= 2 * MORE or not len(last) or last[-1] != len(digits) - 1:
        raise ValueError("not a compressed run-length text")
    first = np.append(0, last[:-1] + 1)
    lengths = last - first + 1
    if lengths.max() > MAX_CHARACTERS:
        raise ValueError("a run length beyond any image")
    shift = BITS * (np.arange(len(digits)) - np.repeat(first, lengths))
    counts = np.add.reduceat((digits & (MORE - 1)) << shift, first)
    counts -= np.where(digits[last] & SIGN, np.int64(1) << (BITS * lengths), 0)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return np.asarray(counts)


def whole_counts(shape: Mapping[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns run lengths [runs] int64 and the height and width they make up.

    Args:
        shape: as COCO's files have it: `size`, and `counts` as numbers or as text.

    Raises:
        ValueError: they make up no image, or not the one they say. What decodes them would read beyond its memory.
    """
    size, given = shape.get("size"), shape.get("counts")
    try:
        height, width = (int(side) for side in size or ())
        counts = counts_of_text(given) if isinstance(given, str | bytes) else np.array(given, dtype=np.int64)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    if counts.ndim != 1 or not len(counts) or counts.min() < 0 or counts.sum() != height * width:
        raise ValueError(f"run lengths that make up no image of {height} x {width} pixels")
    return counts, (height, width)


def text_of_counts(counts: Sequence[int]) -> str:
    """Returns the compressed form of run lengths."""
    characters = []
    for place, count in enumerate(counts):
        rest = int(count) - (int(counts[place - 2]) if place > 2 else 0)
        while True:
            digit = rest & (MORE - 1)
            rest >>= BITS
            done = rest == (-1 if digit & SIGN else 0)
            characters.append(chr(FIRST_CHARACTER + digit + (0 if done else MORE)))
            if done:
                break
    return "".join(characters)


def bitmap_of_counts(counts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns [height, width] bool of run lengths that add up to it."""
    runs = np.arange(len(counts)) % 2 == 1
    return np.repeat(runs, counts).reshape(width, height).T


def counts_of_bitmap(bitmap: np.ndarray) -> list[int]:
    """Returns the run lengths of [H, W] bool, the first of background."""
    pixels = np.concatenate([[False], bitmap.T.reshape(-1)])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return [int(run) for run in np.diff(np.concatenate([[0], changes, [bitmap.size]]))]
