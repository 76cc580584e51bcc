"""Where the images and label maps of a segmentation data set are, and which belong together."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from maekit.data.file_names import EXPECTED_IMAGES
from maekit.data.identity import Split, fingerprint
from maekit.data.layout import nearby_root, require_folder
from maekit.data.listing import Names, image_names, sub_folders
from maekit.data.splits import SplitName, expected_names, find_split
from maekit.errors import UserError, nearest

LABEL_FOLDERS = ("annotations", "masks")
FIRST: dict[SplitName, tuple[str, ...]] = {"train": ("training",), "val": ("validation",)}  # as in ADE20K
CLASSES_FILE = "classes.txt"
MAX_CLASSES = 254  # a label file has 8 bits, of which 255 is ignored and 0 may be
EXPECTED = "expected images/training, images/validation and the same two in annotations (or train, val and masks)"


@dataclass(frozen=True, eq=False)
class Pairs:
    """The images of one split with their label maps, in the images' sorted order.

    Attributes:
        images: the folder that `image_names` are relative to.
        labels: the folder that `label_names` are relative to.
        image_names: one a sample.
        label_names: one a sample; the image's name, but for the suffix.
    """

    images: Path
    labels: Path
    image_names: Names
    label_names: Names

    def __len__(self) -> int:
        return len(self.image_names)

    def image(self, index: int) -> str:
        """Returns the path of one image."""
        return f"{self.images}/{self.image_names[index]}"

    def label(self, index: int) -> str:
        """Returns the path of its label map."""
        return f"{self.labels}/{self.label_names[index]}"

    def identity(self) -> Split:
        """Returns the number of images and a fingerprint of their names and their label maps' names."""
        return Split(len(self), fingerprint(*self.image_names.content(), *self.label_names.content()))


class Paired(NamedTuple):
    """What was found: the pairs, and one line for each kind of file that stands alone."""

    pairs: Pairs
    problems: list[str]


def pair_splits(root: Path) -> tuple[Paired, Paired]:
    """Pairs the images of the training and of the validation split with their label maps.

    Raises:
        UserError: the folder does not have the expected form, or a split holds no pair.
    """
    require_folder(root)
    if not (root / "images").is_dir():
        raise UserError(f"{root}: no folder images in it; {_elsewhere(root)}")
    labels = next((root / name for name in LABEL_FOLDERS if (root / name).is_dir()), None)
    if labels is None:
        advice = f"put the label maps there, or use the folder that has both; {EXPECTED}"
        raise UserError(f"{root}: it has images but no folder {' or '.join(LABEL_FOLDERS)}; {advice}")
    return _pair_split(root, labels, "train"), _pair_split(root, labels, "val")


def holds_both(folder: Path) -> bool:
    """Says whether a folder has the two folders of a data set: of images and of label maps."""
    return (folder / "images").is_dir() and any((folder / name).is_dir() for name in LABEL_FOLDERS)


def _elsewhere(root: Path) -> str:
    right = nearby_root(root, holds_both)
    return f"did you mean --data.root {right}?" if right else EXPECTED


def _pair_split(root: Path, labels: Path, split: SplitName) -> Paired:
    folders = []
    for part in (root / "images", labels):
        folder = find_split(part, split, FIRST[split])
        if folder is None:
            found = ", ".join(sub_folders(part)[:5]) or "no folders"
            raise UserError(f"{part}: no folder {expected_names(split, FIRST[split])} in it, but {found}; {EXPECTED}")
        folders.append(folder)
    paired = pair_up(*folders)
    if not len(paired.pairs):
        fault = paired.problems[0] if paired.problems else f"{folders[0]}: no images in it, {EXPECTED_IMAGES}"
        raise UserError(fault)
    return paired


def pair_up(images: Path, labels: Path) -> Paired:
    """Pairs files by their relative paths without the suffix.

    Raises:
        UserError: label maps are JPEG files.
    """
    pictures, maps = ({_stem(name): name for name in image_names(folder)} for folder in (images, labels))
    lossy = next((name for name in maps.values() if name.lower().endswith((".jpg", ".jpeg"))), None)
    if lossy:
        raise UserError(f"{labels / lossy}: a label map as JPEG, which changes its values; save label maps as PNG")
    both = [stem for stem in pictures if stem in maps]
    pairs = Pairs(images, labels, Names(pictures[stem] for stem in both), Names(maps[stem] for stem in both))
    lone = [name for stem, name in pictures.items() if stem not in maps]
    left = [name for stem, name in maps.items() if stem not in pictures]
    return Paired(pairs, _alone(images, lone, "label map", labels) + _alone(labels, left, "image", images))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _alone(folder: Path, names: list[str], lacking: str, other: Path) -> list[str]:
    if not names:
        return []
    more = f" (and {len(names) - 1:,} more such files)" if names[1:] else ""
    advice = f"expected {other / _stem(names[0])}.{'png' if lacking == 'label map' else 'jpg'}; add it or remove this"
    return [f"{folder / names[0]}: no {lacking} for it{more}, {advice}"]


def read_classes(root: Path) -> tuple[str, ...] | None:
    """Returns the names in classes.txt, one a line in label order; None where there is no such file.

    Raises:
        UserError: a line is empty or a name stands twice, or there are too few or too many.
    """
    path = root / CLASSES_FILE
    if not path.is_file():
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as text; write one class name a line, in label order") from None
    for index, name in enumerate(names):
        if not name:
            raise UserError(f"{path}:{index + 1}: an empty line, expected one class name a line, in label order")
        if name.casefold() in (other.casefold() for other in names[:index]):
            raise UserError(f"{path}:{index + 1}: '{name}' stands twice; give each class a name of its own")
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(f"{path}: {len(names)} class names, expected 2 to {MAX_CLASSES}, one a line")
    return tuple(names)


def lacking_classes(root: Path) -> UserError:
    """Returns what to say where a data set of anyone's has no list of its classes."""
    texts = [path.name for path in sorted(root.glob("*.txt"))]
    hint = nearest(CLASSES_FILE, texts)
    return UserError(f"{root}: no {CLASSES_FILE} in it{hint}; write one class name a line, the first is label 0")
