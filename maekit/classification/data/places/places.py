"""Places365-standard and Places205 as released: lists of labelled images, and one or two copies of the images."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.classification.data.check import check_class_folders
from maekit.classification.data.labelled_images import LabelledImages, Splits
from maekit.classification.data.list_check import check_lists
from maekit.classification.data.places.images import copies_in
from maekit.classification.data.places.release import (
    EXPECTED,
    FORMS,
    find_version,
    has_class_folders,
    read_class_folders,
    read_lists,
    versions_in,
)
from maekit.classification.data.synthetic_lists import PLACES, write_places
from maekit.data.digits import cached, make
from maekit.data.folders.layout import require_folder
from maekit.data.folders.listing import Listing
from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class Places(LabelledImages):
    """Places365-standard, Places205, or any images with lists of that form, or in class folders.

    Labels are those of the lists; in class folders the places of the sorted folder names.

    Args:
        synthetic: made data to use where no root is given: `digits` are scikit-learn's handwritten digits.
        version: whose lists to use; null where the folder holds those of one only.
        images: which copy of Places365 to use: `large` ones or those of 256 px; null where there is one only.
    """

    published: ClassVar[DataSpec] = DataSpec(tuple(f"category_{i:03}" for i in range(365)), (224, 224))
    published_counts: ClassVar[tuple[int, int] | None] = (1_803_460, 36_500)  # Places365-standard
    expected: ClassVar[str] = EXPECTED

    synthetic: Literal["digits"] | None = None
    version: Literal["places365", "places205"] | None = None
    images: Literal["large", "small"] | None = None

    def read_splits(self, root: Path) -> Splits:
        """Reads the lists, or the class folders if there are none."""
        require_folder(root)
        if not versions_in(root) and has_class_folders(root):
            if self.version or self.images:
                flags = "--data.version and --data.images, which choose among lists"
                raise UserError(f"{root}: class folders without lists; leave out {flags}")
            train, val = read_class_folders(root)
            return Splits(train, val, train.classes, "class folders")
        version = find_version(root, self.version)
        lists, copy = read_lists(root, version, self.images)
        return Splits(lists.train, lists.val, lists.names, f"{lists.released.title}, {copy.title}")

    def published_name(self, train: Listing) -> str:
        """Returns Places365-standard or Places205 where the training images are as many as were released."""
        known = (form.released for form in FORMS.values())
        sizes = len(train.classes), len(train)
        return next((one.title for one in known if (one.num_classes, one.num_train) == sizes), "")

    @classmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of handwritten digits in Places365's form, made by the first call."""
        return cached(PLACES, write_places)

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes the handwritten digits in Places365's form; see `write_places`."""
        return f"wrote 1,397 training and 400 validation images of 10 classes to {make(root, write_places)}"

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies the version and copy that are given, or every one there, and that each image is there."""
        root = self.data_root()
        if root.is_dir() and not versions_in(root) and has_class_folders(root):
            return check_class_folders(
                self, read_class_folders, FORMS["places365"].released.differences, classes=classes, full=full
            )
        findings = Findings()
        try:
            require_folder(root)
            versions = [find_version(root, self.version)] if self.version else versions_in(root)
            for version in versions or [find_version(root, None)]:
                copies: list[str | None] = [*copies_in(root)] if version == "places365" else []
                for copy in [self.images] if self.images else copies or [None]:
                    lists, images = read_lists(root, version, copy)
                    findings.facts.append(f"form: {lists.released.title}, {images.title} in {images.train}")
                    check_lists(self, lists, findings, classes=classes, full=full)
        except UserError as error:
            findings.problems.append(str(error))
        return findings
