"""Which images of a segmentation data set are for training and which for validation: the flags, and the division."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maekit.data.folders.shares import Share
from maekit.data.tables.flags import TableFlags
from maekit.segmentation.data.labels.present import values_present
from maekit.segmentation.data.layout.layout import Pairs
from maekit.segmentation.data.layout.listed import read_listed
from maekit.segmentation.data.layout.tree import SegTree, read_splits, read_table_splits
from maekit.system.ranges import check_range


@dataclass(kw_only=True, eq=False, repr=False)
class Division(TableFlags):
    """Two splits in folders or in a table, else a share or a fold of the images.

    Args:
        mask_column: the table's column of the label maps' paths; null: the one with a usual name, such as `mask`.
        val_fraction: share of the images set aside for validation where there is no such split, above 0 and below
            1.
        split_seed: chooses which images that share holds.
        fold: the second of five folds is 2/5: that fold is for validation, the others for training; null for a share.
            Each class is in its proportion in each fold, by the values of all label maps, which are read once.
        group_pattern: regular expression whose first group in an image's name is its group, as ^([^_]+)_ for a
            patient; images of one group are never on both sides.
    """

    mask_column: str | None = None
    val_fraction: float = 0.1
    split_seed: int = 0
    fold: str | None = None
    group_pattern: str | None = None

    def checked_share(self) -> Share:
        """Returns the share or the fold that the flags ask for.

        Raises:
            UserError: a flag is out of range, or two exclude each other.
        """
        check_range("data.split_seed", self.split_seed, "[0, inf)")
        self.require_table("mask_column", group_pattern=self.group_pattern)
        return Share(self.val_fraction, self.split_seed, self.fold, self.group_pattern)

    def read_divided(
        self,
        root: Path,
        class_names: Callable[[Path, Pairs], tuple[str, ...]],
        possible: Callable[[Pairs], tuple[Pairs, dict[int, str]]],
        *,
        allow_lone: bool,
    ) -> SegTree:
        """Reads the images and label maps of folders or of the table, and divides them.

        Args:
            root: the data folder.
            class_names: returns the class names, given the folder and pairs.
            possible: returns pairs with their colours, and the name of each value in them that may be a class.
            allow_lone: whether folds are made although a class is in one image alone.

        Raises:
            UserError: the folder or the table does not have the expected form, or cannot be divided.
        """

        def held_out(pairs: Pairs, groups: list[str]) -> np.ndarray:
            coloured, values = possible(pairs)
            classes = () if allow_lone else tuple(values.values())
            present = values_present(coloured, list(values))
            return self.checked_share().held_out(list(pairs.image_names), present, groups, classes, pairs.labels)

        if self.table is None:
            return read_splits(root, class_names, self.checked_share(), held_out)
        listed = read_listed(self.table_file(), self.table_columns("mask"), root)
        return read_table_splits(listed, root, class_names, self.checked_share(), held_out)
