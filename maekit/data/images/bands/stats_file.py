"""The file of statistics that `maekit data stats` writes and `--data.stats` takes: JSON, one number a band."""

import json
import math
from pathlib import Path

import msgspec

from maekit.errors import UserError
from maekit.system.files import atomic_write_text

NAME = "stats.json"


class Stats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Statistics of all channels of a data set's training images, in the order of its files and in their unit.

    Attributes:
        bands: names of the channels.
        dtype: of the files' numbers.
        unit: the number that counts as 1: of 8 bits 255.
        images: how many were read.
        pixels: of each channel, that have a value.
        missing: pixels of each channel that have none: NaN, or the number by which the file marks them.
        mean: of each channel.
        std: of each channel, over all pixels (not over n - 1).
        min: of each channel.
        max: of each channel.
    """

    bands: tuple[str, ...]
    dtype: str
    unit: float
    images: int
    pixels: tuple[int, ...]
    missing: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]


def read_stats(path: Path) -> Stats:
    """Reads a file of statistics.

    Raises:
        UserError: it cannot be read, lacks something, or its lists have different lengths.
    """
    advice = "make it again with `maekit data stats --root DIR`"
    try:
        stats = msgspec.json.decode(path.read_bytes(), type=Stats)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), expected a file of statistics; {advice}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}, expected a file of statistics; {advice}") from None
    for name in ("pixels", "missing", "mean", "std", "min", "max"):
        numbers = getattr(stats, name)
        if len(numbers) != len(stats.bands):
            raise UserError(f"{path}: {len(numbers)} numbers in {name}, expected {len(stats.bands)} as bands; {advice}")
    if not all(map(math.isfinite, (*stats.mean, *stats.std, stats.unit))) or min((*stats.std, stats.unit)) < 0:
        raise UserError(f"{path}: a mean or std that is no number, or a std below 0; {advice}")
    return stats


def write_stats(path: Path, stats: Stats) -> None:
    """Writes a file of statistics, one line a key; an older one is replaced."""
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in msgspec.to_builtins(stats).items())
    atomic_write_text(path, "{\n " + ",\n ".join(lines) + "\n}\n")
