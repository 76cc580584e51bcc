"""Anyone's class folders, or a table of anyone's images, as the data of a classification task."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.classification.data.check import check_class_folders
from maekit.classification.data.labelled_images import Splits
from maekit.classification.data.table_images import TableImages
from maekit.classification.data.tables.classes import read_table
from maekit.classification.data.tables.rows import TableSplits, given_classes
from maekit.data.digits import digits_root, make_digits
from maekit.data.folders.file_names import EXPECTED_IMAGES
from maekit.data.folders.layout import class_folders, find_layout, same_classes
from maekit.data.folders.listing import Listing, list_classes, require_images, split
from maekit.data.folders.text import readable_names
from maekit.data.tables.folds import fold_of_each, require_pairs
from maekit.data.tables.read import tables_in
from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class ClassFolders(TableImages):
    """A folder of `train/<class>/` and `val/<class>/`, or of class folders alone; or a table of images.

    Args:
        classes: the classes of a table in label order: names, or a file with one a line; null: all its labels, sorted.
        sampling: how often images are drawn: `balanced`, each class equally often; `weighted`, by the weight column;
            `uniform`, each image once an epoch; null: weighted where there is a weight column, else uniform. What is
            not uniform is drawn with replacement, and an epoch has as many images as before.
    """

    published: ClassVar[DataSpec] = DataSpec(("class_0000", "class_0001"), (224, 224))
    expected: ClassVar[str] = "a folder of train/<class>/ and val/<class>/, or of class folders"

    classes: list[str] | str | None = None
    sampling: Literal["uniform", "balanced", "weighted"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling == "weighted" and self.weight_column is None:
            raise UserError(
                "got data.sampling weighted without data.weight_column, expected both; add the column's name"
            )

    def sample_weights(self) -> np.ndarray | None:
        """Returns the weights by which training images are drawn, [images]; None draws each once an epoch."""
        train = self._read().train
        match self._drawn():
            case "balanced":
                weights: np.ndarray = 1 / np.bincount(train.labels)[train.labels]
                return weights
            case "weighted":
                return train.weights
        return None

    def notes(self) -> list[str]:
        """Returns what the summary adds, with how images are drawn, and tables that are not read."""
        drawn = {"balanced": "each class is drawn equally often", "weighted": "images are drawn by their weights"}
        lines = [drawn[self._drawn()]] if self._drawn() in drawn else []
        if self.root is not None and self.table is None and not self.published_name(self._read().train):
            names = tables_in(self.data_root())
            lines += [f"{names[0]} in it is not read: --data.table {self.data_root() / names[0]}"] if names else []
        return [*super().notes(), *lines]

    def _drawn(self) -> str:
        return self.sampling or ("uniform" if self.weight_column is None else "weighted")

    def read_splits(self, root: Path) -> Splits:
        """Lists the splits as `read_tree` does, and sets a share aside if there is no validation split."""
        if self.table is not None:
            found = self.read_table(root)
            return Splits(found.train, found.val, readable_names(root, found.train.classes), found.origin)
        if self.classes is not None:
            raise UserError("got data.classes without data.table, expected both: class folders are their own classes")
        return self.read_folders(root)

    def read_folders(self, root: Path) -> Splits:
        """Lists class folders, and sets a share aside if there is no validation split."""
        train, val = self.read_tree(root)
        require_images(train)
        origin = "its own validation split"
        if self._fold is not None:
            return self._in_folds(root, train, val)
        if val is None:
            train, val = split(train, self.val_fraction, self.split_seed)
            origin = f"no val folder: {self.val_fraction:g} of each class set aside, split_seed {self.split_seed}"
        return Splits(train, val, readable_names(root, train.classes), origin)

    def read_table(self, root: Path) -> TableSplits:
        """Reads the table and divides its images; see `maekit.classification.data.tables`."""
        assert self.table is not None
        classes = None if self.classes is None else given_classes(self.classes)
        return read_table(self.table_flags(Path(self.table), classes), root)

    def _in_folds(self, root: Path, train: Listing, val: Listing | None) -> Splits:
        """Divides class folders without a validation split into folds."""
        assert self._fold is not None
        if val is not None:
            raise UserError(
                f"{root}: got data.fold {self.fold} of images that have their own validation split in {val.root}; "
                "leave it out, or give a folder of class folders alone"
            )
        number, count = self._fold
        require_pairs(train.labels, train.classes, root)
        folds = fold_of_each(train.names, train.labels, count, self.split_seed)
        train, val = (train.take(np.flatnonzero(part).tolist()) for part in (folds != number - 1, folds == number - 1))
        require_images(train)
        origin = f"fold {number} of {count}, split_seed {self.split_seed}"
        return Splits(train, val, readable_names(root, train.classes), origin)

    @classmethod
    def read_tree(cls, root: Path) -> tuple[Listing, Listing | None]:
        """Lists the training images, and the validation images if there is such a split; classes may be empty.

        Raises:
            UserError: the folder does not have the expected form.
        """
        layout = find_layout(root)
        train = list_classes(layout.train, class_folders(layout.train))
        train.left_out.folders.extend(layout.passed_over)
        val = cls.list_val(layout.val, train.classes) if layout.val else None
        if val is not None and not len(val):
            raise UserError(f"{val.root}: no images in its class folders, {EXPECTED_IMAGES}; add some, or remove it")
        return train, val

    @classmethod
    def list_val(cls, val: Path, classes: tuple[str, ...]) -> Listing:
        """Lists the validation split in its folder `val`, with the labels of the training split's `classes`."""
        same_classes(val, classes)
        return list_classes(val, classes)

    @classmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of handwritten digits in this data set's format, made by the first call."""
        return digits_root()

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes the handwritten digits; see `make_digits`."""
        return make_digits(root)

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies layout, class count and files; see `check_class_folders`."""
        if self.table is None and self.fold is None:
            return check_class_folders(self, self.read_tree, self.missing, classes=classes, full=full)
        findings = check_class_folders(
            self, lambda root: self.read_splits(root)[:2], self.missing, classes=classes, full=full
        )
        how = "table" if self.table is not None else "division"
        findings.facts += [] if self._splits is None else [f"{how}: {self._splits.origin}"]
        return findings

    @classmethod
    def missing(cls, train: Listing, val: Listing | None) -> list[str]:
        """Returns one line for each thing that the published data set has and these splits do not: no data set here."""
        return []
