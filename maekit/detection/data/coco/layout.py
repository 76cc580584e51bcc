"""Finds the annotation files and image folders of a COCO data set, and explains what is missing."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from maekit.data.folders.layout import nearby_root, require_folder, still_packed
from maekit.data.folders.listing import files_in, sub_folders
from maekit.data.folders.shares import Share
from maekit.data.folders.splits import SPLIT_NAMES, SplitName, split_of, splits_among
from maekit.detection.data.coco.file import CocoFile, scan_coco, scan_yolo
from maekit.detection.data.listed import Images, Listed
from maekit.detection.data.yolo.find import YoloSplit, find_yolo
from maekit.errors import UserError, nearest

Form = Literal["auto", "coco", "yolo"]
EXPECTED = "train2017, val2017 and annotations/instances_train2017.json, annotations/instances_val2017.json"

JSONS = (
    "annotations/instances_{}2017.json",
    "annotations/instances_{}.json",
    "annotations/{}.json",
    "{}.json",
    "{}/_annotations.coco.json",
)
FOLDERS = "{}2017", "images/{}", "{}", "images"
ENDINGS = ".json", ".json.gz"
OTHER_TASKS = "captions", "person_keypoints", "panoptic", "stuff", "image_info"  # how COCO's other files begin
IMAGE_FOLDERS = {"image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "data"}
OWN = {"instances", "annotations", "coco", "json"}  # words of annotation files' names that are no folders of images
MAX_FOLDERS, MAX_NAMED = 100, 4


class Part(NamedTuple):
    """One split.

    Attributes:
        name: train or val, as in the flags.
        json: its annotation file.
        images: the folder that its images should be in.
        others: more folders that they may be in; empty if a flag names the folder.
        yolo: its images where the data set has YOLO's form.
        share: which of the images are for validation, where both splits are of one list; else None.
        listed: a table that divides them, and may leave some out; None without one.
        note: what else is in the folder and is not used; empty if nothing.
    """

    name: SplitName
    json: Path
    images: Path
    others: tuple[Path, ...] = ()
    yolo: YoloSplit | None = None
    share: Share | None = None
    listed: Listed | None = None
    note: str = ""


class Places(NamedTuple):
    """The paths that flags give, relative to the root; None to look for the usual names."""

    train_json: str | None = None
    val_json: str | None = None
    train_images: str | None = None
    val_images: str | None = None

    def parts(
        self, root: Path | None, share: Share | None = None, listed: Listed | None = None, form: Form = "auto"
    ) -> tuple[Part, Part]:
        """Returns both splits; without a root, paths are relative to the current folder.

        Args:
            root: the data folder.
            share: sets images aside for validation where there is one list only; None to refuse that.
            listed: a table that divides the one list.
            form: of the annotations; auto takes COCO's where a folder has both, and notes it.

        Raises:
            UserError: there are two lists, and a fold or a table to divide one; or nothing has the form.
        """
        base = (root or Path()).expanduser().absolute()
        yolo = None if any(self) or form == "coco" or not base.is_dir() else _yolo_of(base, form)
        note = ""
        if yolo is not None and (form == "yolo" or not _find_json(base, "train").is_file()):
            return _yolo_parts(base, *yolo, share, listed)
        if form == "yolo":
            raise UserError(f"{base}: no labels in YOLO's form in it, expected data.yaml, or images/ and labels/")
        if yolo is not None:
            note = f"{yolo[0].source} has labels in YOLO's form too, which are not used: --data.annotations yolo does"
        train = _part(base, "train", self.train_json, self.train_images)
        val = _part(base, "val", self.val_json, self.val_images)
        alone = None if share is None or self.val_json or val.json.is_file() else _only_list(base, train)
        if alone is not None:
            part = _part(base, "train", str(alone), self.train_images)._replace(share=share, listed=listed)
            return part, part._replace(name="val", note=note)
        _refuse_division(share, listed, val.json)
        return train, val._replace(note=note)

    def need_root(self) -> bool:
        """Returns whether a path is missing or relative."""
        return not all(given and Path(given).expanduser().is_absolute() for given in self)


def _yolo_of(base: Path, form: Form) -> tuple[YoloSplit, YoloSplit | None] | None:
    """Returns the splits in YOLO's form; beside COCO's, what cannot be read in YOLO's is not asked for."""
    try:
        return find_yolo(base)
    except UserError:
        if form == "auto" and _find_json(base, "train").is_file():
            return None
        raise


def _only_list(base: Path, train: Part) -> Path | None:
    """Returns the only annotation file, unless its name is that of COCO's own or of a validation split."""
    there = [train.json] if train.json.is_file() else []
    there += [path for path in annotation_files(base) if path not in there]
    if len(there) != 1 or re.search(r"20\d\d\.json", there[0].name):
        return None
    return there[0] if there[0] == train.json or _split_of(there[0], base) in (None, "train") else None


def _refuse_division(share: Share | None, listed: Listed | None, val: Path) -> None:
    if listed is not None:
        advice = "leave the table out, or put all images into the training list"
        raise UserError(f"data.table: got {listed.table}, but {val} is a validation split; {advice}")
    if share is not None and share.fold is not None:
        advice = "take it away, and put all images into the training list"
        raise UserError(f"data.fold: got {share.fold}, but {val} is a validation split; {advice}")


def _yolo_parts(
    base: Path, train: YoloSplit, val: YoloSplit | None, share: Share | None, listed: Listed | None
) -> tuple[Part, Part]:
    if val is None and share is not None:
        part = Part("train", train.source, train.folder, (), train, share, listed)
        return part, part._replace(name="val")
    if val is None:
        raise UserError(f"{base}: data in YOLO's form without validation images; name them as val in data.yaml")
    _refuse_division(share, listed, val.source)
    return Part("train", train.source, train.folder, (), train), Part("val", val.source, val.folder, (), val)


def _part(base: Path, name: SplitName, json: str | None, images: str | None) -> Part:
    file = base / Path(json).expanduser() if json else _find_json(base, name)
    if images:
        return Part(name, file, base / Path(images).expanduser())
    usual = [base / form.format(word) for form in FOLDERS for word in SPLIT_NAMES[name]]
    there = [path for path in usual if path.is_dir()] or _folders(base, name, file)
    beside = [path for path in (*_folders(base, name, file), file.parent, base) if path.is_dir()]
    others = [path for path in dict.fromkeys((*there[1:], *beside)) if path not in there[:1]]
    return Part(name, file, there[0] if there else usual[0], tuple(others))


def _folders(base: Path, split: SplitName, file: Path) -> list[Path]:
    """Returns the folders named as a split, or as the annotation file (CVAT's instances_Train.json: images/Train)."""
    words = {word for word in re.findall(r"[a-z]+", file.name.split(".")[0].lower()) if word not in OWN}
    own = file.parent.parent if file.parent.name.lower() == "annotations" else file.parent
    parents = [path for place in (base, own) for path in _folders_named(place, IMAGE_FOLDERS)]
    found = []
    for parent in dict.fromkeys((*parents, base)):
        if parent.is_dir():
            names = splits_among(sub_folders(parent), split)
            found += [parent / name for name in names] + _folders_named(parent, words)
    return list(dict.fromkeys((*found, *parents)))


def _folders_named(base: Path, names: Collection[str]) -> list[Path]:
    """Returns the folders in a folder that have one of some names, whatever their case."""
    return [base / name for name in (sub_folders(base) if base.is_dir() else ()) if name.lower() in names]


def _find_json(base: Path, split: SplitName) -> Path:
    """Returns the first of the usual files that exists, else the only file that is named as this split is."""
    usual = [base / form.format(name) for form in JSONS for name in SPLIT_NAMES[split]]
    there = next((path for path in usual if path.is_file()), None)
    if there is not None:
        return there
    named = [path for path in annotation_files(base) if _split_of(path, base) == split]
    whole = [path for path in named if path.name.startswith("instances")] or named
    return whole[0] if len(whole) == 1 else usual[0]


def annotation_files(base: Path) -> list[Path]:
    """Returns the JSON files in a folder, in those in it, and in those in its splits; none of COCO's other tasks."""
    inner = [base / name for name in (sub_folders(base) if base.is_dir() else ())[:MAX_FOLDERS]]
    deeper = [part / name for part in inner if split_of(part.name) for name in sub_folders(part)[:MAX_FOLDERS]]
    folders = [base, *inner, *deeper]
    return [
        folder / name
        for folder in folders
        for name in sorted(files_in(folder))
        if name.lower().endswith(ENDINGS) and not name.startswith((*OTHER_TASKS, "."))
    ]


def _split_of(path: Path, base: Path) -> SplitName | None:
    """Returns the split that a file's name, else its folders', has as a word; None of none or several."""
    for name in (path.name.split(".json")[0], *reversed(path.relative_to(base).parts[:-1])):
        words = set(re.findall(r"[a-z]+", name.lower()))
        splits: list[SplitName] = [split for split, known in SPLIT_NAMES.items() if words & set(known)]
        if splits:
            return splits[0] if len(splits) == 1 else None
    return None


def read_part(part: Part, root: Path | None) -> tuple[CocoFile | None, list[str]]:
    """Reads one split; see `scan_coco`. Of a list for both splits, its part is taken.

    Raises:
        UserError: without its annotation file or its folder of images, with what is there instead; or `scan_coco`'s.
    """
    file, problems = _read_list(part, root)
    file = replace(file, notes=(*file.notes, part.note)) if file is not None and part.note else file
    if file is None or part.share is None:
        return file, problems
    names, classes = list(file.names), list(file.categories.values())
    if part.listed is not None:
        sides = part.listed.sides(Images(file.path, file.folder, names, file.present(), classes), part.share)
        return (file.take(sides.val, *sides.notes) if part.name == "val" else file.take(sides.train)), problems
    keep = part.share.held_out(names, file.present(), (), classes, file.path)
    if part.name == "val":
        return file.take(keep, part.share.describe()), problems
    return file.take(~keep), problems


def _read_list(part: Part, root: Path | None) -> tuple[CocoFile | None, list[str]]:
    if part.yolo is not None:
        return scan_yolo(part.yolo)
    if root is not None and root in part.json.parents:
        require_folder(root)
    if not part.json.is_file():
        raise UserError(f"{part.json}: no such annotation file{_json_hint(part, root)}")
    folders = [folder for folder in (part.images, *part.others) if folder.is_dir()]
    if not folders:
        raise UserError(f"{part.images}: no such folder of images{_images_hint(part)}")
    file, problems = scan_coco(part.json, *folders)
    if not part.images.is_dir() and file is not None and len(file.found.absent) == len(file):
        raise UserError(f"{part.images}: no such folder of images{_images_hint(part)}")
    return file, problems


def _json_hint(part: Part, root: Path | None) -> str:
    here = part.json.relative_to(root) if root is not None and root in part.json.parents else None
    if here is not None and here.is_file():  # given relative to the current folder
        return f"; did you mean --data.{part.name}_json {here.absolute()}?"
    usual = [form.format(name) for form in JSONS for name in SPLIT_NAMES[part.name]]
    usual.append(f"annotations/{part.json.name}")
    flag = f"give --data.{part.name}_json FILE"
    if root is not None and root.is_dir():
        right = nearby_root(root, lambda folder: any((folder / name).is_file() for name in usual))
        if right:
            return f"; did you mean --data.root {right}?"
        packed = still_packed(root, "annotations*", "annotations/*.zip")
        if packed:
            return f"; {packed} is still packed, unpack it in {root}"
    there = sorted(name for name in files_in(part.json.parent) if name.lower().endswith(ENDINGS))
    close = _nearest(part.name, part.json.name, there)
    if close or root is None or not root.is_dir():
        return f"{close}; {flag}, or a folder with {EXPECTED}"
    files = [str(path.relative_to(root)) for path in annotation_files(root)]
    if len(files) == 1:
        flags = "--data.train_json FILE --data.val_json FILE"
        return f"; the only one is {files[0]}: split it in two, for training and for validation, and give {flags}"
    listed = f" (there is {', '.join(files[:MAX_NAMED])}{', ...' if files[MAX_NAMED:] else ''})" if files else ""
    return f"{listed}; {flag}, or a folder with {EXPECTED}"


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
