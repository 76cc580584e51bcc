"""Which names of images and of label maps belong together."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from maekit.errors import UserError

# What names of the two kinds have besides what they share: im1_sat.jpg and im1_mask.png, x_leftImg8bit.png and
# x_gtFine_labelIds.png.
WORDS = frozenset((
    "image", "images", "img", "imgs", "rgb", "sat", "photo", "leftimg8bit", "mask", "masks", "label", "labels", "gt",
    "seg", "segmentation", "segmentations", "ann", "annotation", "annotations", "target", "groundtruth", "lbl", "msk",
    "gtfine", "labelids", "labeltrainids", "semantic", "l",
))  # fmt: skip
OTHER_FORMS = frozenset(("color", "colour", "colors", "instance", "instances", "instanceids", "overlay", "vis"))
PREFERRED = "labeltrainids"  # Cityscapes has two numberings for each image, this one without the classes not evaluated


class PairedNames(NamedTuple):
    """Names of images with those of their label maps in the images' order, what is left of both, and how: a note."""

    pairs: list[tuple[str, str]]
    lone_images: list[str]
    lone_labels: list[str]
    note: str


def pair_names(images: Sequence[str], labels: Sequence[str], folder: Path) -> PairedNames:
    """Pairs relative paths by what stands before the suffix, and those that have no partner so by their `key`.

    Args:
        images: sorted names of the images.
        labels: sorted names of the label maps.
        folder: of the label maps, for the messages.

    Raises:
        UserError: two label maps are for one image.
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
    return PairedNames(pairs, [image for image in images if image not in found], lone_labels, _note(near))


def stem_of(name: str) -> str:
    """Returns a relative path without its suffix."""
    return name.rpartition(".")[0]


def key(name: str) -> str:
    """Returns what an image and its label map share: the path in lower case without suffix and without `WORDS`."""
    folder, _, file = stem_of(name).casefold().rpartition("/")
    words = [word for word in re.split(r"[\s_.\-]+", file) if word and word not in WORDS]
    return f"{folder}/{'_'.join(words)}" if words else ""


def _near(images: Sequence[str], labels: Sequence[str], folder: Path) -> dict[str, str]:
    """Returns the label map of each image that alone has its key."""
    maps = _groups(key, labels)
    alone = {found[0]: which for which, found in _groups(key, images).items() if which in maps and len(found) == 1}
    return {image: _only(_one_numbering(maps[which]), image, folder) for image, which in alone.items() if which}


def _groups(of: Callable[[str], str], names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[of(name)].append(name)
    return groups


def _one_numbering(labels: list[str]) -> list[str]:
    return [name for name in labels if PREFERRED in name.casefold()] or labels


def _only(labels: list[str], image: str, folder: Path) -> str:
    if len(labels) > 1:
        where = f"{folder}: {labels[0]} and {labels[1]} are both label maps of {image}"
        raise UserError(f"{where}; keep the one with the class numbers")
    return labels[0]


def _other_form(label: str, keys: set[str]) -> bool:
    """Says whether a label map is another form of one that is used: Cityscapes' `_color` and `_instanceIds`."""
    words = key(label).split("_")
    while words and words[-1] in OTHER_FORMS:
        words.pop()
    return "_".join(words) in keys


def _note(near: dict[str, str]) -> str:
    image, label = next(iter(near.items()), ("", ""))
    return f"label maps by near names, as {label} of {image}" if near else ""
