"""Anyone's folder of class folders, as the data of a classification task."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.classification.data.check import check_class_folders
from maekit.classification.data.labelled_images import LabelledImages, Splits
from maekit.data.digits import digits_root, make_digits
from maekit.data.folders.file_names import EXPECTED_IMAGES
from maekit.data.folders.layout import class_folders, find_layout, same_classes
from maekit.data.folders.listing import Listing, list_classes, require_images, split
from maekit.data.folders.text import readable_names
from maekit.errors import UserError
from maekit.system.ranges import check_range


@dataclass(kw_only=True, eq=False, repr=False)
class ClassFolders(LabelledImages):
    """A folder of `train/<class>/` and `val/<class>/`, or of class folders alone.

    Args:
        synthetic: made data to use where no root is given: `digits` are scikit-learn's handwritten digits.
        val_fraction: share of each class set aside for validation where there is no val folder, above 0 and
            below 1.
        split_seed: chooses which images that share holds.
    """

    published: ClassVar[DataSpec] = DataSpec(("class_0000", "class_0001"), (224, 224))
    expected: ClassVar[str] = "a folder of train/<class>/ and val/<class>/, or of class folders"

    synthetic: Literal["digits"] | None = None
    val_fraction: float
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.val_fraction < 1:
            raise UserError(f"data.val_fraction: got {self.val_fraction}, expected above 0 and below 1")
        check_range("data.split_seed", self.split_seed, "[0, inf)")

    def read_splits(self, root: Path) -> Splits:
        """Lists the splits as `read_tree` does, and sets a share aside if there is no validation split."""
        train, val = self.read_tree(root)
        require_images(train)
        origin = "its own validation split"
        if val is None:
            train, val = split(train, self.val_fraction, self.split_seed)
            origin = f"no val folder: {self.val_fraction:g} of each class set aside, split_seed {self.split_seed}"
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
        return check_class_folders(self, self.read_tree, self.missing, classes=classes, full=full)

    @classmethod
    def missing(cls, train: Listing, val: Listing | None) -> list[str]:
        """Returns one line for each thing that the published data set has and these splits do not: no data set here."""
        return []
