"""Finds the images and class names of a data set in YOLO's form: by data.yaml, or by images/ and labels/ alone."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from maekit.data.folders.listing import files_in, scan_images, sub_folders
from maekit.data.folders.splits import SPLIT_NAMES, SplitName, splits_among
from maekit.data.folders.text import read_text
from maekit.errors import UserError
from maekit.system.numbers import plural

NAME_FILES = ("classes.txt", "obj.names", "names.txt")
NAMES = "expected names such as names: [cat, dog] or names: {0: cat, 1: dog}"


class YoloSplit(NamedTuple):
    """The images of one split.

    Attributes:
        source: the file or folder that describes it, for messages.
        folder: that the names are relative to.
        names: of the images, sorted.
        classes: name of each class by its number.
    """

    source: Path
    folder: Path
    names: tuple[str, ...]
    classes: dict[int, str]

    def label(self, index: int) -> Path:
        """Returns the text file of one image: the last folder `images` of its path becomes `labels`."""
        image = PurePosixPath(self.folder / self.names[index])
        head, found, tail = str(image).rpartition("/images/")
        return Path(f"{head}/labels/{tail}" if found else str(image)).with_suffix(".txt")


def find_yolo(root: Path) -> tuple[YoloSplit, YoloSplit | None] | None:
    """Returns both splits, the second None where there is none; None where the folder has not YOLO's form.

    Raises:
        UserError: data.yaml cannot be used, names a folder that is not there, or no file names the classes.
    """
    file = _yaml_of(root)
    if file is not None:
        return _by_yaml(*file)
    found = {split: _folder(root, split) for split in ("train", "val")}
    train, val = found["train"], found["val"]
    if train is None and (root / "images").is_dir() and _has_labels(root / "images", root / "labels"):
        train = root / "images"
    if train is None:
        return None
    classes = _named_beside(root)
    return _of_folder(root, train, classes), _of_folder(root, val, classes) if val else None


def _yaml_of(root: Path) -> tuple[Path, Mapping[object, object]] | None:
    for path in sorted({*root.glob("*.yaml"), *root.glob("*.yml")}):
        try:
            text = path.read_text(encoding="utf-8-sig")
            content, plain = yaml.safe_load(text), yaml.load(text, Loader=yaml.BaseLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            if path.stem == "data":
                raise UserError(f"{path}: not YAML ({' '.join(str(error).split())[:100]}); mend it") from None
            continue
        if isinstance(content, dict) and ({"names", "train"} <= content.keys() or path.stem == "data"):
            # names as they are written: YAML would make False of `no`, and 7 of `007`
            return path, content | {"names": plain.get("names")}
    return None


def _by_yaml(path: Path, content: Mapping[object, object]) -> tuple[YoloSplit, YoloSplit | None]:
    classes = _classes(path, content.get("names"))
    count = content.get("nc")
    if isinstance(count, int) and count != len(classes):
        raise UserError(f"{path}: nc is {count}, but {len(classes)} names are given; make them equal")
    if not content.get("train"):
        raise UserError(f"{path}: no train in it, expected the folder or list of the training images")
    base = str(content.get("path") or "")
    train = _split(path, base, "train", content["train"], classes)
    return train, _split(path, base, "val", content["val"], classes) if content.get("val") else None


def _classes(path: Path, names: object) -> dict[int, str]:
    pairs: list[tuple[object, object]]
    pairs = (
        list(names.items()) if isinstance(names, dict) else list(enumerate(names if isinstance(names, list) else []))
    )
    found = {int(str(key)): str(name).strip() for key, name in pairs if re.fullmatch(r"\d+", str(key))}
    if not found or len(found) < len(pairs) or not all(found.values()):
        raise UserError(f"{path}: names: got {names!r:.60}, {NAMES}")
    seen: dict[str, int] = {}
    for number, name in found.items():
        if seen.setdefault(name, number) != number:
            raise UserError(f"{path}: classes {seen[name]} and {number} both have the name {name!r}; rename one")
    return dict(sorted(found.items()))


def _split(path: Path, base: str, split: SplitName, given: object, classes: dict[int, str]) -> YoloSplit:
    places = [str(place) for place in (given if isinstance(given, list) else [given])]
    names: list[str] = []
    for place in places:
        found = _locate(path, base, place)
        if found is None:
            tried = " or ".join(dict.fromkeys(str(start / place) for start in _starts(path, base)[:2]))
            advice = "paths are relative to its path:, and that to the file itself; mend path: or this"
            raise UserError(f"{path}: {split}: {place} is not there (looked for {tried}); {advice}")
        names += [str(found / name) for name in scan_images(found)[0]] if found.is_dir() else _listed(found)
    if not names:
        raise UserError(f"{path}: {split}: no images in {', '.join(places)}; add images, or mend the path")
    folder = path.parent.absolute()
    names = sorted(dict.fromkeys(name.removeprefix(f"{folder}/") for name in names))
    return YoloSplit(path, folder, tuple(names), classes)


def _starts(path: Path, base: str) -> list[Path]:
    """Returns the folders that a split's path may be relative to; Ultralytics' own `datasets` folder among them."""
    own = path.parent.absolute()
    above = [own, own / "datasets", own.parent, own.parent / "datasets"]
    return [*[start / base for start in above if base], own]


def _locate(path: Path, base: str, place: str) -> Path | None:
    plain = place[3:] if place.startswith("../") else place  # Roboflow writes ../train/images for train/images
    tried = [start / form for form in dict.fromkeys((place, plain)) for start in _starts(path, base)]
    found = next((candidate for candidate in tried if candidate.exists()), None)
    return None if found is None else found.resolve() if ".." in found.parts else found


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as text, expected the path of an image a line") from None
    return [str(path.parent / line.strip()) for line in lines if line.strip()]


def _folder(root: Path, split: SplitName) -> Path | None:
    """Returns images/<split> with labels/<split>, or <split>/images with <split>/labels."""
    if (root / "images").is_dir():
        for name in splits_among(sub_folders(root / "images"), split):
            if _has_labels(root / "images" / name, root / "labels" / name):
                return root / "images" / name
    for name in splits_among(sub_folders(root), split) if root.is_dir() else ():
        if _has_labels(root / name / "images", root / name / "labels"):
            return root / name / "images"
    return None


def _has_labels(images: Path, labels: Path) -> bool:
    return images.is_dir() and labels.is_dir() and any(labels.glob("*.txt"))


def _of_folder(root: Path, images: Path, classes: dict[int, str]) -> YoloSplit:
    names = scan_images(images)[0]
    if not names:
        raise UserError(f"{images}: no images in it, but label files beside it; add the images")
    return YoloSplit(root / "labels", images, tuple(sorted(names)), classes)


def _named_beside(root: Path) -> dict[int, str]:
    folders = [root, root / "labels", *(root / "labels" / name for name in SPLIT_NAMES["train"])]
    path = next((folder / name for folder in folders for name in NAME_FILES if (folder / name).is_file()), None)
    if path is None:
        advice = "write a data.yaml with names:, or classes.txt with one name a line"
        raise UserError(f"{root}: label files in YOLO's form, but no class names; {advice}")
    lines = [line.strip() for line in read_text(path).rstrip().split("\n")]
    return _classes(path, lines)


def notes_of(split: YoloSplit, without: int, repeated: int, first: object) -> tuple[str, ...]:
    """Returns a line on images without objects, on lines that repeat an object (`first`), on labels without image."""
    alone = _without_image(split)
    first_alone = min(alone, default="")
    lone = f"{plural(len(alone), 'label file')} without an image of that name, not used (the first: {first_alone})"
    empty = f"{without:,} of {len(split.names):,} images have no label file or an empty one, so they are background"
    twice = f"{repeated:,} lines repeat an object and are left out (the first: {first})"
    return tuple(line for count, line in ((without, empty), (repeated, twice), (len(alone), lone)) if count)


def _without_image(split: YoloSplit) -> list[str]:
    """Returns the label files whose name no file has in the folder of the images that they would belong to."""
    folders = {split.label(index).parent: (split.folder / name).parent for index, name in enumerate(split.names)}
    alone = list[str]()
    for labels, images in folders.items():
        known = {Path(name).stem for name in files_in(images)}
        texts = [name for name in files_in(labels) if name.lower().endswith(".txt") and name not in NAME_FILES]
        if other := next((name for name in texts if not name.endswith(".txt") and Path(name).stem in known), None):
            raise UserError(
                f"{labels / other}: got a label file that ends in {Path(other).suffix}, expected .txt, so its image "
                "would have no objects; rename such files"
            )
        alone += [str(labels / name) for name in texts if Path(name).stem not in known]
    return alone
