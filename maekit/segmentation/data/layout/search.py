"""Finds the folders of the images and the label maps of each split by their names."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from maekit.data.folders.file_names import is_array_name, is_image_name, is_passed_over
from maekit.data.folders.layout import nearby_root, require_folder
from maekit.data.folders.listing import sub_folders
from maekit.data.folders.splits import SplitName, split_of
from maekit.errors import UserError

Kind = Literal["images", "labels"]
Places = Mapping[tuple[SplitName | None, Kind], Sequence[Path]]

KINDS: dict[Kind, tuple[str, ...]] = {
    "images": ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "photos", "pictures", "rgb"),
    "labels": (
        "annotations", "masks", "labels", "mask", "label", "annotation", "anns", "ann", "annot", "gt", "gtfine",
        "segmentationclass", "segmentations", "segmentation", "segs", "seg", "groundtruth", "targets", "labelmaps",
    ),
}  # fmt: skip
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
FILLERS = frozenset(("dir", "set", "folder", "data", "png", "raw", "map", "maps"))
JOINED = re.compile(r"(train|val|valid|test)(?=(?:annot|images?|imgs?|masks?|labels?)$)")  # CamVid's trainannot
VOC_LISTS = "ImageSets/Segmentation"  # one text file a split, one image name a line
EXPECTED = "expected images/train, images/val, masks/train, masks/val (or train/images, train/masks, ...)"


class Parts(NamedTuple):
    """The folders of one split.

    Attributes:
        images: folder of the images.
        labels: folder of the label maps.
        stems: names without suffix of the images of this split; None for all images of the folder.
        shared: whether `labels` also has the label maps of other splits.
    """

    images: Path
    labels: Path
    stems: frozenset[str] | None = None
    shared: bool = False


class Folders(NamedTuple):
    """The folders of a data set; `val` is None without a validation split. `passed_over` are unused image folders."""

    train: Parts
    val: Parts | None
    passed_over: tuple[str, ...]


def find_folders(root: Path, holds: Callable[[Path], object]) -> Folders:
    """Finds images and label maps of the splits: `images/train`, `train/images`, or both words in one name.

    Args:
        root: folder of the data set.
        holds: returns whether a folder is a data set, before an error proposes it instead of `root`.

    Raises:
        UserError: there are no such folders, or several of one kind and split.
    """
    require_folder(root)
    _refuse_one_split(root, holds)
    places = find_places(root)
    kinds = {kind for _, kind in places}
    if kinds != set(KINDS):
        right = nearby_root(root, holds)
        unknown = ", ".join([name for name in sub_folders(root) if meaning(name) == (None, None)][:5])
        advice = f"{f'found {unknown}, ' if unknown else ''}{EXPECTED}"
        raise UserError(f"{root}: {_lacking(kinds)}; {f'did you mean --data.root {right}?' if right else advice}")
    train, val = (_parts(root, places, split) for split in ("train", "val"))
    if train is None:
        train, val = _listed(root, places) or (_whole(root, places), val)
    used = {folder for parts in (train, val) if parts for folder in (parts.images, parts.labels)}
    others = [path for (_, kind), found in places.items() if kind == "images" for path in found if path not in used]
    return Folders(train, val, tuple(sorted(str(path.relative_to(root)) for path in others if holds_images(path))))


def find_places(root: Path) -> Places:
    """Returns the folders one and two levels below `root` whose names tell split and kind."""
    places: dict[tuple[SplitName | None, Kind], list[Path]] = defaultdict(list)
    whole: list[tuple[SplitName | None, Kind, Path]]
    for outer in sub_folders(root):
        split, kind = meaning(outer)
        inner = {name: meaning(name) for name in sub_folders(root / outer)} if split or kind else {}
        below = [
            (split or inner_split, kind or inner_kind, root / outer / name)
            for name, (inner_split, inner_kind) in inner.items()
            if (split is None or inner_split in (None, split)) and (kind is None or inner_kind in (None, kind))
        ]
        whole = [] if split and kind else [(s, k, path) for s, k, path in below if s and k]
        if kind and not whole:
            whole = [(split, kind, root / outer)]
        elif split and not whole and holds_images(root / outer):  # CamVid: train/ and trainannot/
            whole = [(split, "images", root / outer)]
        for s, k, path in whole:
            places[s, k].append(path)
    return places


def meaning(name: str) -> tuple[SplitName | None, Kind | None]:
    """Returns the split and the kind in a folder's name; (None, None) if the name has any other word."""
    found = _meaning(name)
    return found if any(found) else _meaning(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name))  # TrainMasks


def _meaning(name: str) -> tuple[SplitName | None, Kind | None]:
    words = re.split(r"[^a-z0-9]+", JOINED.sub(r"\1_", name.casefold()))
    words = [word for word in words if word and word not in FILLERS]
    kinds = {KIND_OF[word] for word in words if word in KIND_OF}
    rest = "_".join(word for word in words if word not in KIND_OF)
    split = split_of(rest) if rest else None
    if len(kinds) > 1 or (rest and split is None):
        return None, None
    return split, next(iter(kinds), None)


def holds_images(folder: Path) -> bool:
    """Returns whether there is an image file in a folder or below it."""
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_passed_over(name)]
        if any((is_image_name(name) or is_array_name(name)) and not is_passed_over(name) for name in names):
            return True
    return False


def _refuse_one_split(root: Path, holds: Callable[[Path], object]) -> None:
    """Raises a UserError if `root` is the training split `D/train` of a data set `D`."""
    if meaning(root.name) == ("train", None) and find_places(root) and holds(root.parent):
        advice = f"give the folder above it: --data.root {root.parent}"
        raise UserError(f"{root}: this is the training split alone; {advice}")


def _lacking(kinds: set[Kind]) -> str:
    if "images" in kinds:
        return f"it has images but no folder {', '.join(KINDS['labels'][:3])} or similar with label maps"
    return "no folder of images in it" + (", only of label maps" if kinds else "")


def _parts(root: Path, places: Places, split: SplitName | None) -> Parts | None:
    images, labels = (_one(places.get((split, kind), ())) for kind in KINDS)
    if images is None and labels is None:
        return None
    everything = _one(places.get((None, "labels"), ())) if labels is None else None
    if images is None or (labels or everything) is None:
        there, lacking = (images, "label maps") if images else (labels, "images")
        raise UserError(f"{there}: no folder in {root} with the {lacking} of this split; {EXPECTED}")
    return Parts(images, labels or everything or images, shared=labels is None)


def _whole(root: Path, places: Places) -> Parts:
    parts = _parts(root, places, None)
    if parts is None:
        found = ", ".join(sub_folders(root)[:5])
        raise UserError(f"{root}: no images with label maps for training in it, but {found}; {EXPECTED}")
    return parts


def _listed(root: Path, places: Places) -> tuple[Parts, Parts | None] | None:
    """Returns the splits of PASCAL VOC's lists, or None if there is no list for training."""
    whole = _parts(root, places, None)
    train, val = (root / VOC_LISTS / f"{split}.txt" for split in ("train", "val"))
    if whole is None or not train.is_file():
        return None
    return whole._replace(stems=_stems(train), shared=True), (
        whole._replace(stems=_stems(val), shared=True) if val.is_file() else None
    )


def _stems(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as text, expected an image's name a line") from None


def _one(found: Sequence[Path]) -> Path | None:
    """Returns the one folder with images; the first folder if none has images, None if there is no folder.

    Raises:
        UserError: several folders have images.
    """
    holding = [path for path in found if holds_images(path)] if len(found) > 1 else found
    if len(holding) > 1:
        raise UserError(f"{holding[0]} and {holding[1]} may both be meant; rename the one that is not to be used")
    return next(iter([*holding, *found]), None)
