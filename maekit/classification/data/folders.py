"""Anyone's class folders, or a table of anyone's images, as the data of a classification task."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.classification.data.check import check_class_folders
from maekit.classification.data.labelled_images import LabelledImages, Splits
from maekit.classification.data.tables import TableFlags, TableSplits, given_classes, read_table
from maekit.data.digits import digits_root, make_digits
from maekit.data.folders.file_names import EXPECTED_IMAGES
from maekit.data.folders.layout import class_folders, find_layout, same_classes
from maekit.data.folders.listing import Listing, list_classes, require_images, split
from maekit.data.folders.shares import parse_fold
from maekit.data.folders.text import readable_names
from maekit.data.tables.folds import fold_of_each, require_pairs
from maekit.errors import UserError
from maekit.system.ranges import check_range


@dataclass(kw_only=True, eq=False, repr=False)
class ClassFolders(LabelledImages):
    """A folder of `train/<class>/` and `val/<class>/`, or of class folders alone; or a table of images.

    Args:
        synthetic: made data to use where no root is given: `digits` are scikit-learn's handwritten digits.
        val_fraction: share of each class set aside for validation where there is no val folder, above 0 and
            below 1.
        split_seed: chooses which images that share, or a fold, holds.
        table: a CSV, TSV or Parquet file with a row for each image, instead of class folders; its paths begin in
            `root` or beside it.
        path_column: the table's column of the images' paths; null: the one with a usual name, such as `file`.
        label_column: its column of the classes; null: likewise, such as `label`.
        split_column: its column that says train, val or test; null: likewise, such as `split`, if there is one. Images
            of test are set aside.
        group_column: its column of what images have in common, such as the patient; a group is never divided between
            training and validation.
        weight_column: its column of what each image counts, above 0.
        classes: the classes of a table in label order: names, or a file with one a line; null: all its labels, sorted.
        sampling: how often images are drawn: `balanced`, each class equally often; `weighted`, by the weight column;
            `uniform`, each image once an epoch; null: weighted where there is a weight column, else uniform. What is
            not uniform is drawn with replacement, and an epoch has as many images as before.
        fold: validate on one of k equal parts and train on the others, as 2/5; each class is spread evenly over them.
    """

    published: ClassVar[DataSpec] = DataSpec(("class_0000", "class_0001"), (224, 224))
    expected: ClassVar[str] = "a folder of train/<class>/ and val/<class>/, or of class folders"

    synthetic: Literal["digits"] | None = None
    val_fraction: float
    split_seed: int = 0
    table: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    weight_column: str | None = None
    classes: list[str] | str | None = None
    sampling: Literal["uniform", "balanced", "weighted"] | None = None
    fold: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.val_fraction < 1:
            raise UserError(f"data.val_fraction: got {self.val_fraction}, expected above 0 and below 1")
        check_range("data.split_seed", self.split_seed, "[0, inf)")
        self._fold = None if self.fold is None else parse_fold(self.fold)
        self._require_table()

    def _require_table(self) -> None:
        """Refuses a column where there is no table."""
        of_table = ("path_column", "label_column", "split_column", "group_column", "weight_column")
        given = [name for name in of_table if getattr(self, name) is not None]
        if self.sampling == "weighted" and self.weight_column is None:
            raise UserError(
                "got data.sampling weighted without data.weight_column, expected both; add the column's name"
            )
        if self.table is None and given:
            raise UserError(f"got data.{given[0]} without data.table, expected both; add --data.table FILE")

    def data_root(self) -> Path:
        """Returns the absolute path of the data folder, which is the table's without another one."""
        if self.root is None and self.table is not None:
            return Path(self.table).expanduser().absolute().parent
        return super().data_root()

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
        """Returns what the summary adds, with how images are drawn."""
        drawn = {"balanced": "each class is drawn equally often", "weighted": "images are drawn by their weights"}
        return [*super().notes(), *([drawn[self._drawn()]] if self._drawn() in drawn else [])]

    def _drawn(self) -> str:
        return self.sampling or ("uniform" if self.weight_column is None else "weighted")

    def read_splits(self, root: Path) -> Splits:
        """Lists the splits as `read_tree` does, and sets a share aside if there is no validation split."""
        if self.table is not None:
            found = self.read_table(root)
            return Splits(found.train, found.val, readable_names(root, found.train.classes), found.origin)
        if self.classes is not None:
            raise UserError("got data.classes without data.table, expected both: class folders are their own classes")
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
        kinds = ("path", "label", "split", "group", "weight")
        return read_table(
            TableFlags(
                file=Path(self.table).expanduser().absolute(),
                columns={kind: getattr(self, f"{kind}_column") for kind in kinds},
                classes=None if self.classes is None else given_classes(self.classes),
                val_fraction=self.val_fraction,
                split_seed=self.split_seed,
                fold=self._fold,
            ),
            root,
        )

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
        if self.table is None:
            return check_class_folders(self, self.read_tree, self.missing, classes=classes, full=full)
        findings = check_class_folders(
            self, lambda root: self.read_table(root)[:2], self.missing, classes=classes, full=full
        )
        findings.facts += [] if self._splits is None else [f"table: {self._splits.origin}"]
        return findings

    @classmethod
    def missing(cls, train: Listing, val: Listing | None) -> list[str]:
        """Returns one line for each thing that the published data set has and these splits do not: no data set here."""
        return []
