"""The four data sets on which ImageNet classifiers are measured for robustness, and their numbered parts."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple, NotRequired, TypedDict

import yaml

from maekit.system.light_imports import package_file
from maekit.system.yaml_loader import YAML_LOADER

SETS = ("imagenet_a", "imagenet_r", "imagenet_sketch", "imagenet_c")
WHOLE, CORRUPTED = SETS[:3], SETS[3]
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Published:
    """The published numbers of one data set, see robustness.yaml.

    Attributes:
        num_images: number of images; for ImageNet-C in one severity of one corruption.
        num_classes: number of class folders.
        classes: the classes among which a prediction is chosen; empty if it is chosen among all 1,000.
    """

    num_images: int
    num_classes: int
    classes: tuple[str, ...]


class Cell(NamedTuple):
    """A part that is measured by itself: a whole data set, or one severity of one corruption of ImageNet-C.

    Attributes:
        name: the data set, one of `SETS`.
        corruption: ImageNet-C's corruption; empty for the other data sets.
        severity: ImageNet-C's severity, 1 to 5; 0 for the other data sets.
    """

    name: str
    corruption: str = ""
    severity: int = 0


class _Row(TypedDict):
    num_images: int
    num_classes: int
    classes: NotRequired[str]


class _Table(TypedDict):
    sets: dict[str, _Row]
    alexnet_errors: dict[str, float]
    archives: list[str]


@cache
def _table() -> _Table:
    text = files("maekit.robustness.data").joinpath("robustness.yaml").read_text(encoding="utf-8")
    table: _Table = yaml.load(text, YAML_LOADER)
    return table


@cache
def published(name: str) -> Published:
    """Returns the published numbers of one of the `SETS`."""
    row = _table()["sets"][name]
    return Published(row["num_images"], row["num_classes"], tuple(row.get("classes", "").split()))


@cache
def alexnet_errors() -> dict[str, float]:
    """Returns AlexNet's mean error over the severities of each corruption, in 0..1, in ImageNet-C's order."""
    return dict(_table()["alexnet_errors"])


@cache
def archives() -> tuple[str, ...]:
    """Returns the names of ImageNet-C's archives; unpacked, each may be a folder that holds corruptions."""
    return tuple(_table()["archives"])


@cache
def cells() -> tuple[Cell, ...]:
    """Returns all 78 parts; a part's number is its place here: 0 to 2, then corruption by corruption."""
    corrupted = [Cell(CORRUPTED, corruption, severity) for corruption in alexnet_errors() for severity in SEVERITIES]
    return (*map(Cell, WHOLE), *corrupted)


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Returns ImageNet-1K's 1,000 class ids in label order, which is their sorted order (`n01440764` is 0)."""
    return tuple(package_file("timm", "data/_info/imagenet_synsets.txt").read_text(encoding="utf-8").split())


def title(name: str) -> str:
    """Returns a data set's name for people: ImageNet-A of `imagenet_a`."""
    return f"ImageNet-{name.removeprefix('imagenet_').capitalize()}"
