"""Images with one grade each, of grades in an order, as the data of a task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec, Target
from maekit.classification.data.check import check_table
from maekit.classification.data.folders import ClassFolders
from maekit.classification.data.labelled_images import Splits
from maekit.classification.data.tables.classes import read_table
from maekit.classification.data.tables.rows import given_classes
from maekit.data.digit_pairs import GRADES, TABLE, make_pairs, pairs_root
from maekit.data.folders.alike import meaning
from maekit.data.folders.listing import Listing
from maekit.errors import UserError, nearest

USUAL = ("grade", "grades", "stage", "severity", "level")
MOST_SAID = 8


@dataclass(kw_only=True, eq=False, repr=False)
class GradedImages(ClassFolders):
    """A table with a grade in each row, or class folders that are grades.

    Args:
        synthetic: made data to use where no root is given: `digits` are images of two of scikit-learn's handwritten
            digits, with a grade of their sum.
        label_column: its column of the grades; null: the one with a usual name, such as `grade`.
        classes: the grades from the lowest to the highest: names, or a file with one a line; null where they are whole
            numbers, which are in the order of numbers.
    """

    published: ClassVar[DataSpec] = DataSpec(("grade_0", "grade_1", "grade_2"), (224, 224), target="grades")
    target: ClassVar[Target] = "grades"

    def read_splits(self, root: Path) -> Splits:
        """Lists the splits as class folders or a table do, and puts the grades in their order."""
        given = None if self.classes is None else given_classes(self.classes)
        file = None if self.table is None else Path(self.table)
        if self._is_made():
            file, given = root / TABLE, given or GRADES
        if file is None:
            splits = self.read_folders(root)
        else:
            found = read_table(self.table_flags(file, given), root, USUAL)
            splits = Splits(found.train, found.val, found.train.classes, found.origin)
        order = grade_order(splits.train.classes, given, file or root)
        train, val = (_in_order(part, order) for part in splits[:2])
        names = tuple(splits.names[place] for place in order)
        return Splits(train, val, names, f"{splits.origin}; grades {' < '.join(names[:MOST_SAID])}")

    def _is_made(self) -> bool:
        return self.table is None and self.root is None

    def label_flag(self) -> str | None:
        """Returns the column of the grades: the flag's, or the made data's own."""
        return "grade" if self._is_made() and self.label_column is None else self.label_column

    def spec(self) -> DataSpec:
        """Returns the grades found and the image size asked for."""
        return replace(super().spec(), target=self.target)

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies the table or the class folders, the order of the grades and the files."""
        if self.table is None and not self._is_made():
            return super().check(classes=classes, full=full)
        return check_table(self, self._read, classes=classes, full=full)

    @classmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of images of two digits, made by the first call."""
        return pairs_root()

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes images of two digits with a table; see `make_pairs`."""
        flags = f"--data.root {root} --data.table {root / TABLE} --data.label_column grade"
        return f"{make_pairs(root)}; use {flags} --data.classes '{','.join(GRADES)}'"


def grade_order(names: Sequence[str], given: Sequence[str] | None, where: Path) -> list[int]:
    """Returns the places of grades from the lowest to the highest: as given, else in the order of whole numbers.

    Args:
        names: of the grades that were found.
        given: the names in their order; None where nobody gave it.
        where: for errors.

    Raises:
        UserError: the order is not known, or is of other names.
    """
    if given is not None:
        if other := sorted(set(given) ^ set(names)):
            side = "data" if other[0] in names else "data.classes"
            raise UserError(
                f"{where}: grade '{other[0]}' is in the {side} alone{nearest(other[0], given)}, expected the same "
                f"{len(names)} in both; mend --data.classes"
            )
        return [names.index(name) for name in given]
    numbers = [meaning(name) for name in names]
    if not all(number.removeprefix("-").isdecimal() for number in numbers):
        raise UserError(
            f"{where}: got the grades {', '.join(names[:MOST_SAID])}, whose order is not known, expected whole "
            "numbers, or their names from the lowest to the highest; add --data.classes LOWEST,...,HIGHEST"
        )
    return sorted(range(len(names)), key=lambda place: int(numbers[place]))


def _in_order(listing: Listing, order: Sequence[int]) -> Listing:
    """Returns the images with their grades numbered in an order, grade after grade."""
    numbers = np.empty(len(order), dtype=np.int32)
    numbers[list(order)] = np.arange(len(order), dtype=np.int32)
    labels = numbers[listing.labels]
    sorted_rows = labels.argsort(kind="stable")
    taken = listing.take(sorted_rows.tolist())
    return replace(taken, classes=tuple(listing.classes[place] for place in order), labels=labels[sorted_rows])
