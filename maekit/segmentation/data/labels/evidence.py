"""Reads the values of a sample of label maps, from which their coding is decided."""

import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.loader import usable_cores
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.labels.coding import IGNORED
from maekit.segmentation.data.labels.read import read_map
from maekit.segmentation.data.layout.layout import Pairs

MAX_READ = 500  # label maps of each split that a run reads before it starts

Colours = dict[int, tuple[int, ...]]


class MapLook(NamedTuple):
    """One label map: its path, the number of pixels of each value, and the colour of each value of a palette image."""

    path: str
    pixels: dict[int, int]
    colours: Colours


class Evidence(NamedTuple):
    """The label maps of one split that were read.

    Attributes:
        folder: of the label maps.
        looks: content of each.
        whole: whether these are all label maps of the split.
    """

    folder: Path
    looks: list[MapLook]
    whole: bool

    def maps_with(self, value: int) -> list[str]:
        """Returns the paths of the label maps that contain a value."""
        return [look.path for look in self.looks if value in look.pixels]

    def values(self) -> frozenset[int]:
        """Returns all values, including those that are ignored."""
        return frozenset(value for look in self.looks for value in look.pixels)

    def classes(self) -> frozenset[int]:
        """Returns all values except 255."""
        return self.values() - {IGNORED}

    def share(self, value: int) -> float:
        """Returns a value's share, 0..1, of all pixels except those of 255."""
        counts = sum((Counter(look.pixels) for look in self.looks), Counter[int]())
        return counts[value] / max(counts.total() - counts[IGNORED], 1)

    def describe(self) -> str:
        """Returns text such as `all 16 label maps`."""
        count = f"{len(self.looks):,} label maps"
        return f"all {count}" if self.whole else f"the {count} that were read"


def read_evidence(pairs: Pairs, most: int = MAX_READ) -> Evidence:
    """Reads the label maps of a split; of more than `most` a random sample.

    Raises:
        UserError: one cannot be read.
    """
    count = min(len(pairs), most)
    chosen = sorted(random.Random(0).sample(range(len(pairs)), count))
    with ThreadPoolExecutor(usable_cores()) as pool:
        return Evidence(
            pairs.labels,
            [*pool.map(lambda index: look_at(pairs.label(index), pairs.colours), chosen)],
            count == len(pairs),
        )


def look_at(path: str, table: ColourTable | None = None) -> MapLook:
    """Reads one label map.

    Raises:
        UserError: it cannot be read.
    """
    values, palette = read_map(path, table)
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        found = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    else:
        found = dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True))
    colours = [] if palette is None else palette.tolist()
    return MapLook(path, found, {value: tuple(colours[value]) for value in found if value < len(colours)})


def differing_palettes(looks: Iterable[MapLook]) -> str | None:
    """Returns a line if one index has two colours, so that it cannot be one class; else None."""
    seen: dict[int, tuple[tuple[int, ...], str]] = {}
    for look in looks:
        for index, colour in look.colours.items():
            before, path = seen.setdefault(index, (colour, look.path))
            if before != colour:
                advice = "an index must be one class in all files; save them with one palette, or as grey"
                return f"{look.path}: index {index} has the colour {colour}, in {path} {before}; {advice}"
    return None
