"""Refuses other kinds of data that look like class folders: images with label maps, and COCO's format."""

from pathlib import Path

from maekit.data.folders.listing import files_in
from maekit.data.folders.splits import split_of
from maekit.errors import UserError

IMAGES = {"images", "image", "imgs", "img", "jpegimages", "pictures"}
MASKS = {"masks", "mask", "annotations", "annotation", "labels", "label", "segmentationclass", "segmentations", "gt"}
HEAD_BYTES = 1 << 16
ELSEWHERE = "give it to a task for such data (`maekit tasks` lists them)"


def refuse_masks(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuses a folder whose sub-folders are all named as those of images and of label maps or boxes.

    Raises:
        UserError: with the two names.
    """
    plain = {name.casefold() for name in classes}
    if plain & IMAGES and plain & MASKS and plain <= IMAGES | MASKS:
        found = " and ".join(classes)
        raise UserError(f"{folder}: folders {found} are images and their labels, not class folders; {ELSEWHERE}")


def refuse_other_form(root: Path, folders: tuple[str, ...]) -> None:
    """Refuses a folder that holds annotation files of COCO's format.

    Args:
        root: the data folder.
        folders: names of the folders in it.

    Raises:
        UserError: with the annotation file.
    """
    inside = [name for name in folders if split_of(name) or name.casefold() in MASKS]
    for place in (root, *(root / name for name in inside)):
        for name in sorted(files_in(place)):
            if name.lower().endswith(".json") and _is_coco(place / name):
                raise UserError(f"{place / name}: annotations of objects in images, not class folders; {ELSEWHERE}")


def _is_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return b'"images"' in head or b'"annotations"' in head
