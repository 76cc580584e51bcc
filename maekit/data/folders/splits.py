"""The usual names of the folders of splits, in upper or lower case: one list for all tasks."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from maekit.data.folders.listing import sub_folders

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "validation", "valid", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout"),
}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
# seg_train (Kaggle's Intel scenes), train_set, Training-Set, train2017, test_images, images_val
_AFFIXES = re.compile(r"^(?:seg|images?|imgs?|data)_|_?(?:sets?|images?|imgs?|data|split|folder|20\d\d)$")


def split_of(name: str) -> SplitName | None:
    """Returns the split that a folder's name means, in upper or lower case; None for any other name.

    `train2017`, `seg_train`, `Training Set` and `test_images` are splits, `trains` and `test_tube` are not.
    """
    plain = re.sub(r"[\s\-.]+", "_", name.strip().casefold())
    return _SPLIT_OF.get(plain) or _SPLIT_OF.get(_AFFIXES.sub("", plain))


def splits_among(names: Iterable[str], split: SplitName, first: tuple[str, ...] = ()) -> list[str]:
    """Returns the folders' names that mean a split, the best first.

    Args:
        names: names of folders.
        split: the split.
        first: names that go before all others, in this order: those of the published data set.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys((*first, *SPLIT_NAMES[split])))}
    found = {name for name in names if split_of(name) == split}
    return sorted(found, key=lambda name: (order.get(name.casefold(), len(order)), name != name.casefold(), name))


def find_split(root: Path, split: SplitName, first: tuple[str, ...] = ()) -> Path | None:
    """Returns the folder of a split in `root`, or None; of several the one that `splits_among` puts first.

    Raises:
        UserError: `root` cannot be listed.
    """
    found = splits_among(sub_folders(root), split, first) if root.is_dir() else []
    return root / found[0] if found else None


def expected_names(split: SplitName, first: tuple[str, ...] = ()) -> str:
    """Returns the usual names of a split's folder for a message, as `val, validation or valid`."""
    names = list(dict.fromkeys((*first, *SPLIT_NAMES[split])))[:3]
    return f"{', '.join(names[:-1])} or {names[-1]}"
