"""ADE20K in the version of the scene parsing benchmark (ADEChallengeData2016); other releases are refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml

from maekit.base.spec import DataSpec
from maekit.data.digit_scenes import ADE_FORM, SceneForm
from maekit.data.folders.layout import MAX_ABOVE, MAX_INSIDE, nearby_root, still_packed
from maekit.data.folders.listing import sub_folders
from maekit.errors import UserError
from maekit.segmentation.data.classes import read_classes
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.data.layout.layout import Pairs, holds_pairs
from maekit.segmentation.data.layout.tree import SegTree
from maekit.segmentation.data.palette import Colour, spread_palette
from maekit.system.yaml_loader import YAML_LOADER

NUM_TRAIN, NUM_VAL = 20_210, 2_000
RELEASE = "ADEChallengeData2016"
TRAIN, VAL = "ADE_train_", "ADE_val_"  # prefixes of its image names
INDICES = ("index_ade20k.mat", "index_ade20k.pkl")


def published_classes() -> list[tuple[str, Colour]]:
    """Returns name and colour of the 150 classes, in label order, from `ade20k_classes.yaml`."""
    lines = yaml.load(Path(__file__).with_name("ade20k_classes.yaml").read_text(encoding="utf-8"), YAML_LOADER)
    return [(str(name), (red, green, blue)) for name, red, green, blue in lines]


CLASSES = published_classes()
NAMES = tuple(name for name, _ in CLASSES)


@dataclass(kw_only=True, eq=False, repr=False)
class ADE20K(SegmentationFolders):
    """ADEChallengeData2016, or any folder of images with label maps that names its classes in `classes.txt`.

    In ADE20K's label files 0 is unlabelled, which is ignored, and 1 to 150 are the classes. A folder counts as ADE20K
    if the image names begin with ADE_train_ and ADE_val_ and no other classes are given.
    """

    published: ClassVar[DataSpec] = DataSpec(NAMES, (512, 512), palette=tuple(colour for _, colour in CLASSES))
    published_counts: ClassVar[tuple[int, int] | None] = (NUM_TRAIN, NUM_VAL)
    expected: ClassVar[str] = f"the folder {RELEASE}, with images and annotations in it"
    form: ClassVar[SceneForm] = ADE_FORM

    def read_tree(self, root: Path) -> SegTree:
        """Pairs the files as `SegmentationFolders` does, and refuses the other releases of ADE20K."""
        mistake = wrong_release(root)
        if mistake:
            raise UserError(f"{root}: {mistake}")
        tree = super().read_tree(root)
        published = tree.names == NAMES and is_released(tree.train.pairs)
        if published and not is_released(tree.val.pairs, VAL):
            raise UserError(f"{root}: no validation split in it, which {RELEASE} has; unpack its archive again")
        return tree._replace(published=published)

    def class_names(self, root: Path, train: Pairs) -> tuple[str, ...]:
        """Returns given names as `SegmentationFolders` does; without any, the 150 published ones for ADE20K itself."""
        if not self.classes and read_classes(root) is None and is_released(train):
            return NAMES
        return super().class_names(root, train)

    @classmethod
    def lacking(cls, tree: SegTree) -> list[str]:
        """Returns one line for each split with another number of images than the release; none for other data."""
        if not tree.published:
            return []
        counts = (("training", len(tree.train.pairs), NUM_TRAIN), ("validation", len(tree.val.pairs), NUM_VAL))
        return [
            f"{found:,} {split} images with a label map, {RELEASE} has {whole:,}; unpack its archive again"
            for split, found, whole in counts
            if found != whole
        ]

    @classmethod
    def palette_of(cls, names: tuple[str, ...]) -> list[Colour]:
        """Returns the published colours for the published classes, `spread_palette` for others."""
        return [colour for _, colour in CLASSES] if names == NAMES else spread_palette(len(names))


def is_released(pairs: Pairs, prefix: str = TRAIN) -> bool:
    """Returns whether all image names are those of a released split, such as ADE_train_00000001.jpg."""
    return all(name.rpartition("/")[2].startswith(prefix) for name in pairs.image_names)


def wrong_release(root: Path) -> str | None:
    """Returns an error line if `root` is the full ADE20K data set or holds a packed archive, else None."""
    if not root.is_dir() or holds_pairs(root) or nearby_root(root, holds_pairs):
        return None
    found = _full_release(root)
    if found:
        advice = f"use {RELEASE} (150 classes, images/ and annotations/), a download of its own"
        return f"this is the full ADE20K with thousands of classes ({found}), not the benchmark; {advice}"
    packed = still_packed(root, f"{RELEASE}*", "ADE20K*")
    return f"{packed} is still packed; unpack it and give the folder {RELEASE}" if packed else None


def _full_release(root: Path) -> str | None:
    """Returns the file that identifies the full data set: an index in, below or above `root`, or a colour map."""
    for folder in (root, *(root / name for name in sub_folders(root)[:MAX_INSIDE]), *list(root.parents)[:MAX_ABOVE]):
        index = next((name for name in INDICES if (folder / name).is_file()), None)
        if index:
            return index
    patterns = ("*_seg.png", "images/*/*/*/*_seg.png", "images/*/*/*/*/*_seg.png")
    return next((path.name for pattern in patterns for path in root.glob(pattern)), None)
