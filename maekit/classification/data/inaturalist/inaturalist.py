"""iNaturalist 2017, 2018, 2019 and 2021 as the competitions released them: images, and JSON files that label them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.classification.data.inaturalist.release import (
    EXPECTED,
    RELEASED,
    Year,
    find_year,
    gaps,
    read_lists,
    years_in,
)
from maekit.classification.data.labelled_images import LabelledImages, Splits
from maekit.classification.data.list_check import check_lists
from maekit.classification.data.synthetic_lists import INATURALIST, write_inaturalist
from maekit.data.digits import cached, make
from maekit.data.folders.layout import require_folder
from maekit.data.folders.listing import Listing
from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class INaturalist(LabelledImages):
    """iNaturalist of one year, or any images with annotation files of that form.

    Labels are the places of the sorted category ids. The test images have no public labels and are not used.

    Args:
        synthetic: made data to use where no root is given: `digits` are scikit-learn's handwritten digits.
        year: of the competition; null where the folder holds the annotation files of one year only.
    """

    published: ClassVar[DataSpec] = DataSpec(tuple(f"category_{i:04}" for i in range(8_142)), (224, 224))
    published_counts: ClassVar[tuple[int, int] | None] = (RELEASED[2018].num_train, RELEASED[2018].num_val)
    expected: ClassVar[str] = EXPECTED

    synthetic: Literal["digits"] | None = None
    year: Year | None = None

    def read_splits(self, root: Path) -> Splits:
        """Reads the two annotation files of the year."""
        year = find_year(root, self.year)
        lists = read_lists(root, year)
        return Splits(lists.train, lists.val, lists.names, f"iNaturalist {year}")

    def published_name(self, train: Listing) -> str:
        """Returns iNaturalist and its year where the training images are as many as were released."""
        sizes = len(train.classes), len(train)
        return next((one.title for one in RELEASED.values() if (one.num_classes, one.num_train) == sizes), "")

    @classmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of handwritten digits in the form of 2018, made by the first call."""
        return cached(INATURALIST, write_inaturalist)

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes the handwritten digits in the form of 2018; see `write_inaturalist`."""
        return f"wrote 1,397 training and 400 validation images of 10 classes to {make(root, write_inaturalist)}"

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies the annotation files of the year, or of every year there, and that each image is there."""
        findings = Findings()
        root = self.data_root()
        try:
            require_folder(root)
            years = [find_year(root, self.year)] if self.year else years_in(root)
            for year in years or [find_year(root, None)]:
                lists = read_lists(root, year)
                findings.facts += [f"form: iNaturalist {year}", *gaps(lists)]
                check_lists(self, lists, findings, classes=classes, full=full)
        except UserError as error:
            findings.problems.append(str(error))
        return findings
