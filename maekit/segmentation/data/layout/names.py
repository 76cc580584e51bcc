"""Pairs names of images with names of label maps."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from maekit.errors import UserError

# Words in which the names of an image and its label map differ: im1_sat.jpg and im1_mask.png, x_leftImg8bit.png and
# x_gtFine_labelIds.png.
WORDS = frozenset((
    "image", "images", "img", "imgs", "rgb", "sat", "photo", "leftimg8bit", "mask", "masks", "label", "labels", "gt",
    "seg", "segmentation", "segmentations", "ann", "annotation", "annotations", "target", "groundtruth", "lbl", "msk",
    "gtfine", "labelids", "labeltrainids", "semantic", "l",
))  # fmt: skip
OTHER_FORMS = frozenset(("color", "colour", "colors", "instance", "instances", "instanceids", "overlay", "vis"))
PREFERRED = "labeltrainids"  # Cityscapes has two numberings for each image, this one without the classes not evaluated


class PairedNames(NamedTuple):
    """The result of `pair_names`.

    Attributes:
        pairs: name of an image and of its label map, in the images' order.
        lone_images: images without a label map.
        lone_labels: label maps without an image.
        note: an example of names that are paired although they differ; empty where all are equal.
    """

    pairs: list[tuple[str, str]]
    lone_images: list[str]
    lone_labels: list[str]
    note: str


def pair_names(images: Sequence[str], labels: Sequence[str], folder: Path) -> PairedNames:
    """Pairs relative paths that are equal without their suffix, and the remaining ones by their `key`.

    Args:
        images: sorted names of the images.
        labels: sorted names of the label maps.
        folder: of the label maps, for error messages.

    Raises:
        UserError: an image has two label maps.
    """
    exact = _groups(stem_of, labels)
    found = {image: _only(exact[stem_of(image)], image, folder) for image in images if stem_of(image) in exact}
    taken = set(found.values())
    lone_labels = [name for name in labels if name not in taken]
    lone_images = [image for image in images if image not in found]
    if not (lone_images and lone_labels):
        return PairedNames(list(found.items()), lone_images, lone_labels, "")
    near = _near(lone_images, lone_labels, folder)
    keys = {key(image) for image in near}
    found |= near
    taken = set(near.values())
    lone_labels = [name for name in lone_labels if name not in taken and not _other_form(name, keys)]
    pairs = [(image, found[image]) for image in images if image in found]
    note = next((f"label maps by near names, as {label} of {image}" for image, label in near.items()), "")
    return PairedNames(pairs, [image for image in images if image not in found], lone_labels, note)


def stem_of(name: str) -> str:
    """Returns a relative path without its suffix."""
    return name.rpartition(".")[0]


def key(name: str) -> str:
    """Returns the common part of an image's and its label map's path: lower case, NFC, without suffix and `WORDS`."""
    folder, _, file = unicodedata.normalize("NFC", stem_of(name)).casefold().rpartition("/")
    words = [word for word in re.split(r"[\s_.\-]+", file) if word and word not in WORDS]
    return f"{folder}/{'_'.join(words)}" if words else ""


def _near(images: Sequence[str], labels: Sequence[str], folder: Path) -> dict[str, str]:
    """Returns the label map of each image whose key no other image has."""
    maps = _groups(key, labels)
    alone = {found[0]: which for which, found in _groups(key, images).items() if which in maps and len(found) == 1}
    near = {}
    for image, which in alone.items():
        preferred = [name for name in maps[which] if PREFERRED in name.casefold()]
        if which:
            near[image] = _only(preferred or maps[which], image, folder)
    return near


def _groups(of: Callable[[str], str], names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[of(name)].append(name)
    return groups


def _only(labels: list[str], image: str, folder: Path) -> str:
    if len(labels) > 1:
        where = f"{folder}: {labels[0]} and {labels[1]} are both label maps of {image}"
        raise UserError(f"{where}; keep the one with the class numbers")
    return labels[0]


def _other_form(label: str, keys: set[str]) -> bool:
    """Returns whether a label map is another form of a used one, as Cityscapes' `_color` and `_instanceIds`."""
    words = key(label).split("_")
    while words and words[-1] in OTHER_FORMS:
        words.pop()
    return "_".join(words) in keys
