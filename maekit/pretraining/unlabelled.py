"""Images without labels, as the data of a pre-training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.classification.data.check import check_pictures
from maekit.classification.data.imagenet import ImageNet, is_imagenet
from maekit.classification.data.labelled_images import LabelledImages, Splits
from maekit.data.digit_scenes import ADE_FORM, make_scenes, scenes_root
from maekit.data.digits import digits_root
from maekit.data.folder_dataset import FolderDataset
from maekit.data.folders.file_names import EXPECTED_IMAGES
from maekit.data.folders.layout import require_folder
from maekit.data.folders.listing import Listing, Names, require_images, scan_images, split, sub_folders
from maekit.data.folders.splits import find_split, split_of
from maekit.data.images.bands.choose import Parts
from maekit.data.images.bands.flags import Asked
from maekit.data.images.bands.stats_file import NAME
from maekit.data.images.picture_form import PictureForm, choose_form
from maekit.errors import UserError
from maekit.system.ranges import check_range

LABEL = ("image",)  # what a listing calls all images: it wants a label of each, and nothing reads these


@dataclass(kw_only=True, eq=False, repr=False)
class AnyImages(LabelledImages):
    """All images below `train/` (with or without `val/` beside it), or below the folder itself, in any sub-folders.

    Args:
        synthetic: made data to use where no root is given: `scenes` are handwritten digits on textures.
        val_fraction: share of the images set aside for validation where there is no val folder, above 0 and below
            1.
        split_seed: chooses which images that share holds.
        probe_root: labelled images in class folders, such as ImageNet's; at each validation the k-NN and
            linear-probe accuracy of frozen features is measured on them. `digits`: handwritten digits. Null: no
            such check.
        probe_image_size: height and width in pixels of what the model is given there; null: `image_size`.
    """

    published: ClassVar[DataSpec] = DataSpec(
        (), (224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), target="none"
    )
    published_counts: ClassVar[tuple[int, int] | None] = ImageNet.published_counts
    expected: ClassVar[str] = "a folder of images, at any depth"
    made: ClassVar[str] = "scenes"

    synthetic: Literal["scenes"] | None = None
    val_fraction: float
    split_seed: int = 0
    probe_root: str | None = None
    probe_image_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.val_fraction < 1:
            raise UserError(f"data.val_fraction: got {self.val_fraction}, expected above 0 and below 1")
        check_range("data.split_seed", self.split_seed, "[0, inf)")
        check_range("data.probe_image_size", self.probe_image_size, "[1, inf)")
        self._probe: tuple[FolderDataset, FolderDataset] | None = None

    def read_splits(self, root: Path) -> Splits:
        """Lists all images of the two splits, and sets a share aside if there is no validation split."""
        train, val = list_images(root)
        origin = "its own validation split"
        if val is None:
            train, val = split(train, self.val_fraction, self.split_seed)
            origin = f"no val folder: {self.val_fraction:g} of the images set aside, split_seed {self.split_seed}"
            among = [name for name in sub_folders(root) if split_of(name)] if train.root == root else []
            origin += f"; folder {', '.join(among)} is among them" if among else ""
        return Splits(train, val, LABEL, origin)

    def spec(self) -> DataSpec:
        """Returns the image size asked for, and that there are no classes."""
        return replace(super().spec(), class_names=(), class_ids=(), class_counts=(), target="none")

    def summary(self) -> str:
        """Returns counts, folder and origin in one line."""
        train, val, _, origin = self._read()
        probe = f"; frozen features are judged on {self.probe_root}" if self.probe_root else ""
        counts = f"{len(train):,} training and {len(val):,} validation images in {self.data_root()}"
        return f"{counts} ({'; '.join((origin, *self.notes()))}){probe}"

    def probe_datasets(self) -> tuple[FolderDataset, FolderDataset] | None:
        """Returns labelled images to train a probe on and to evaluate it on, both through the evaluation transform."""
        if self.probe_root is None:
            return None
        if self._probe is None:
            root = digits_root() if self.probe_root == "digits" else Path(self.probe_root).expanduser().absolute()
            train, val = ImageNet.read_tree(root)
            require_images(train)
            if val is None:
                train, val = split(train, self.val_fraction, self.split_seed)
            parts = [(len(part), part.path) for part in (train, val)]
            name = "ImageNet-1K" if is_imagenet(train.classes) else ""
            form = self._form_of_probe(parts, name, root)
            evaluated = self.eval_transform(self.probe_image_size or self.image_size, form.bands)
            self._probe = tuple(FolderDataset(part, evaluated, None, reading=form.reading) for part in (train, val))  # type: ignore[assignment]
        return self._probe

    def _form_of_probe(self, parts: Parts, name: str, root: Path) -> PictureForm:
        """Returns how labelled images are read: of bands those of the run, by its statistics."""
        bands, asked = self.form().bands, Asked()
        if bands is not None:
            asked = Asked(bands.names, bands.file_names, self._asked.stats or self.data_root() / NAME)
        try:
            return choose_form(parts, self.orientation, self.white, name, asked, root)
        except UserError as error:
            if bands is None:
                raise
            raise UserError(
                f"data.probe_root {self.probe_root}: got images of other bands, expected those of the run, "
                f"{', '.join(bands.names)} ({error}); give such images, or --data.probe_root null"
            ) from None

    def published_name(self, train: Listing) -> str:
        """Returns ImageNet-1K if the images lie in folders named after its 1,000 synsets."""
        return "ImageNet-1K" if is_imagenet(sub_folders(train.root)) else ""

    def setup(self) -> None:
        """Reads the listings, also those of the probe's images."""
        super().setup()
        self.probe_datasets()

    @classmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of digit scenes, made by the first call."""
        return scenes_root(ADE_FORM) / "images"

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes the digit scenes in ADE20K's form; their images alone are used."""
        return f"{make_scenes(root, ADE_FORM)}; give --data.root {root / 'images'}"

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies that there are images, and that they can be read."""
        findings = Findings()
        try:
            train, val = list_images(self.data_root())
        except UserError as error:
            findings.problems.append(str(error))
            return findings
        findings.facts.append(f"training: {len(train):,} images")
        aside = "no such folder; data.val_fraction will be set aside"
        findings.facts.append(f"validation: {f'{len(val):,} images' if val else aside}")
        check_pictures(self, train, val, findings, full=full)
        return findings


def list_images(root: Path) -> tuple[Listing, Listing | None]:
    """Lists the images below `root/train` and `root/val`, or other names of `splits`, or all images below `root`.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    require_folder(root)
    train = find_split(root, "train")
    val = find_split(root, "val") if train else None
    listing = _list(train or root)
    if train:
        listing.left_out.folders.extend(name for name in sub_folders(root) if root / name not in (train, val))
    return listing, _list(val) if val else None


def _list(folder: Path) -> Listing:
    names, left_out = scan_images(folder)
    if not names:
        raise UserError(f"{folder}: no images in it, {EXPECTED_IMAGES} at any depth; give --data.root")
    return Listing(folder, LABEL, Names(names), np.zeros(len(names), dtype=np.int32), left_out)
