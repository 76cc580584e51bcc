"""Where a COCO data set's annotation files and images are, and what to say when they are not there."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from maekit.data.coco_file import CocoFile
from maekit.data.layout import nearby_root, require_folder, still_packed
from maekit.data.listing import files_in, sub_folders
from maekit.data.splits import SPLIT_NAMES
from maekit.errors import UserError, nearest

EXPECTED = "train2017, val2017 and annotations/instances_train2017.json, annotations/instances_val2017.json"

JSONS = (
    "annotations/instances_{}2017.json",
    "annotations/instances_{}.json",
    "annotations/{}.json",
    "{}.json",
    "{}/_annotations.coco.json",
)
FOLDERS = "{}2017", "images/{}", "{}", "images"


class Part(NamedTuple):
    """One split's annotation file and the folder of its images; `name` is train or val, as in the flags."""

    name: str
    json: Path
    images: Path


class Places(NamedTuple):
    """What the flags say; None to look for the usual names, relative paths are within the root."""

    train_json: str | None = None
    val_json: str | None = None
    train_images: str | None = None
    val_images: str | None = None

    def parts(self, root: Path | None) -> tuple[Part, Part]:
        """Returns both splits. Without a root, what is relative is so to the current folder."""
        base = (root or Path()).expanduser().absolute()

        def place(given: str | None, names: tuple[str, ...], usual: tuple[str, ...]) -> Path:
            return base / Path(given).expanduser() if given else _first_there(base, names, usual)

        trains, vals = SPLIT_NAMES["train"], SPLIT_NAMES["val"]
        train = Part("train", place(self.train_json, trains, JSONS), place(self.train_images, trains, FOLDERS))
        val = Part("val", place(self.val_json, vals, JSONS), place(self.val_images, vals, FOLDERS))
        return train, val

    def need_root(self) -> bool:
        """Says whether anything is missing or relative."""
        return not all(given and Path(given).expanduser().is_absolute() for given in self)


def _first_there(base: Path, names: tuple[str, ...], usual: tuple[str, ...]) -> Path:
    """Returns the first of the usual places that exists, or COCO 2017's own."""
    places = [base / form.format(name) for form in usual for name in names]
    return next((place for place in places if place.exists()), places[0])


def require_part(part: Part, root: Path | None) -> None:
    """Refuses a split without its annotation file or its folder of images.

    Raises:
        UserError: with what is there instead.
    """
    if root is not None and root in part.json.parents:
        require_folder(root)
    if not part.json.is_file():
        raise UserError(f"{part.json}: no such annotation file{_json_hint(part, root)}")
    if not part.images.is_dir():
        raise UserError(f"{part.images}: no such folder of images{_images_hint(part)}")


def _json_hint(part: Part, root: Path | None) -> str:
    default = f"annotations/{part.json.name}"
    if root is not None and root.is_dir():
        right = nearby_root(root, lambda folder: (folder / default).is_file())
        if right:
            return f"; did you mean --data.root {right}?"
        packed = still_packed(root, "annotations*", "annotations/*.zip")
        if packed:
            return f"; {packed} is still packed, unpack it in {root}"
    there = sorted(name for name in files_in(part.json.parent) if name.endswith(".json"))
    close = _nearest(part.name, part.json.name, there) or (f" (there is {', '.join(there[:3])})" if there else "")
    return f"{close}; give --data.{part.name}_json FILE, or a folder with {EXPECTED}"


def _images_hint(part: Part) -> str:
    parent = part.images.parent
    packed = still_packed(parent, f"{part.images.name}*") if parent.is_dir() else None
    if packed:
        return f"; {packed} is still packed, unpack it in {parent}"
    close = _nearest(part.name, part.images.name, sub_folders(parent)) if parent.is_dir() else ""
    return f"{close}; give --data.{part.name}_images DIR"


def _nearest(split: str, word: str, known: Iterable[str]) -> str:
    """Returns a hint at the nearest name of the same split."""
    return nearest(word, [name for name in known if split in name])


def absent_images(file: CocoFile) -> str | None:
    """Returns one line if an annotation file lists images that are not there, else None."""
    there: dict[str, set[str]] = {}
    absent = []
    for index, name in enumerate(file.names):
        folder, _, last = name.rpartition("/")
        if folder not in there:
            there[folder] = files_in(file.folder / folder)
        if last not in there[folder]:
            absent.append(index)
    if not absent:
        return None
    more = f" and {len(absent) - 1:,} more" if absent[1:] else ""
    first = f"{file.image(absent[0])}{more}: listed in {file.path} but not there"
    return f"{first}; add the image{'s' if more else ''}, or take {'them' if more else 'it'} out of the list"


def other_categories(train: CocoFile, val: CocoFile) -> str | None:
    """Returns one line if the categories of the validation split are not among those of the training split."""
    for ident, name in val.categories.items():
        known = train.categories.get(ident)
        if known != name:
            what = f"'{known}'" if known else "no category"
            advice = "use the same ids and names in both"
            return f"{val.path}: category {ident} is '{name}', in {train.path} that id is {what}; {advice}"
    return None


def nothing_to_learn(train: CocoFile) -> str | None:
    """Returns one line if no image of the training split holds an object that can be learned from."""
    if len(train.trainable()):
        return None
    advice = 'give annotations with a "segmentation", polygons or run lengths, that are no crowds'
    return f"{train.path}: none of its {len(train.objects):,} annotations has a shape to learn; {advice}"
