"""Images with one label each: the base of every data set of classification and pre-training."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from maekit.base.data import Balance, TransferData
from maekit.base.identity import DataIdentity, whole_fingerprint
from maekit.base.spec import DataSpec
from maekit.data.augment.augment import Augmentation, TrainTransform
from maekit.data.folder_dataset import FolderDataset
from maekit.data.folders.alike import case_note, require_distinct
from maekit.data.folders.file_names import LeftOut
from maekit.data.folders.listing import Listing
from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.flags import BandFlags
from maekit.data.images.bands.stats_file import NAME
from maekit.data.images.batch import ImageBatch, Sample, collate_images
from maekit.data.images.picture_form import Orientation, PictureForm, White, choose_form, require_white
from maekit.data.images.reduced_size import ReducedDecode, decode_note
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.system.size import HeightWidth

MAX_NAMED = 3


class Splits(NamedTuple):
    """The two splits of a data set.

    Attributes:
        train: the training images; `classes` are the ids that tell two data sets' classes apart.
        val: the validation images, with the same classes.
        names: one name a class for people, in label order.
        origin: for the summary: which list or copy this is, or how the validation split was made.
    """

    train: Listing
    val: Listing
    names: tuple[str, ...]
    origin: str


@dataclass(kw_only=True, eq=False, repr=False)
class LabelledImages(Augmentation, BandFlags, TransferData):
    """Augmented training images and centre-cropped validation images; a subclass reads which there are.

    Args:
        eval_crop_fraction: centre crop's share of the resized short side at evaluation, above 0 and at most 1.
        decoder: how training images are decoded: `fast` (torchvision's JPEG decoder, Pillow for what it cannot
            read) or `pillow`. Evaluation always uses Pillow, with which the published numbers were measured.
        reduced_decode: whether JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where the crop is made smaller by as
            much: `never`, as the published numbers were measured; `train`, which is about twice as fast for
            photos of 12 megapixels; `always`: in evaluation and prediction too. Pixels differ by 1 of 255 levels.
        orientation: `upright` turns pictures as their EXIF orientation says, `stored` leaves them as they lie in
            the file; `auto`: stored where this is the published data set (torchvision's ImageFolder ignores the
            tag, and facebookresearch/mae, whose numbers were made with it), else upright.
        white: value that becomes white in pictures of more than 8 bits a channel, as 4095; brighter ones are
            clipped. `auto`: 255, 1023, 4095, 16383 or 65535 (1 of floats), by the brightest of a sample.

    Attributes:
        expected: what the folder should hold, for the error where no folder was given.
        made: the value of `synthetic`, for the same error.
    """

    expected: ClassVar[str]
    made: ClassVar[str] = "digits"

    eval_crop_fraction: float
    decoder: Literal["fast", "pillow"] = "fast"
    reduced_decode: ReducedDecode = "never"
    orientation: Orientation = "auto"
    white: White = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_white(self.white)
        self._asked = self.asked_bands()
        self._eval = self.eval_transform(self.image_size)
        TrainTransform(self)  # refuses what is out of range before any image is read
        self._splits: Splits | None = None
        self._form: PictureForm | None = None

    @abstractmethod
    def read_splits(self, root: Path) -> Splits:
        """Lists the images below a folder.

        Raises:
            UserError: the folder does not have the expected form.
        """

    def published_name(self, train: Listing) -> str:
        """Returns the name of the published data set that these images are, all its classes; empty for any other."""
        return ""

    @property
    def folded(self) -> bool:
        """Whether the validation images are one fold of all, and the training images the others."""
        return False

    @classmethod
    @abstractmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of handwritten digits in this data set's format, made by the first call."""

    def setup(self) -> None:
        """Reads the listings and a sample of the pictures; makes the digits if they are asked for and not there yet."""
        self.form()

    def form(self) -> PictureForm:
        """Returns how the pictures are read: turned or not, and what is white; or which bands.

        Raises:
            UserError: the sample does not show which value is white, or the bands cannot be read.
        """
        if self._form is None:
            self._form = self.form_of(*self._read()[:2])
            if self._form.bands:
                self._require_whole()
                self._eval = self.eval_transform(self.image_size, self._form.bands)
        return self._form

    def form_of(self, train: Listing, val: Listing | None) -> PictureForm:
        """Returns how the pictures of two splits are read; see `form`."""
        parts = [(len(part), part.path) for part in (train, val) if part is not None]
        return choose_form(
            parts, self.orientation, self.white, self.published_name(train), self._asked, self.data_root()
        )

    def eval_transform(self, image_size: int, bands: Bands | None = None) -> EvalTransform:
        """Returns the evaluation transform for images of a height and width in pixels; `bands` is None for RGB."""
        fraction = self.eval_crop_fraction
        if bands is not None:
            return EvalTransform(image_size=image_size, crop_fraction=fraction, **bands.plain())
        return EvalTransform(
            image_size=image_size,
            crop_fraction=fraction,
            mean=self.mean,
            std=self.std,
            reduced_decode=self.reduced_decode == "always",
        )

    def _require_whole(self) -> None:
        """Refuses to decode bands at a part of their size: only JPEGs of 8-bit RGB can be."""
        if self.reduced_decode != "never":
            raise UserError(f"got data.reduced_decode {self.reduced_decode} beside bands, expected never; leave it out")

    def resolved(self) -> dict[str, Any]:
        """Returns the file of statistics that was found beside the data: an evaluation on other images needs it too."""
        found = self.stats is None and self._asked and self.form().bands
        return {"stats": str(self.data_root() / NAME)} if found else {}

    def assumed_spec(self) -> DataSpec:
        """Returns the published spec at the image size and of the bands asked for; no image is read."""
        sizes = (self.image_size, self.image_size)
        return replace(self.published, image_size=sizes, **self._asked.assumed())

    def spec(self) -> DataSpec:
        """Returns the classes found, how many training images have each, and the image size asked for."""
        splits, size = self._read(), HeightWidth(self.image_size, self.image_size)
        mean, std = (tuple(map(float, numbers)) for numbers in (self.mean, self.std))
        spec = DataSpec(
            splits.names,
            size,
            splits.train.classes,
            mean=mean,
            std=std,
            class_counts=_class_counts(splits.train.labels, len(splits.names)),
            train_images=len(splits.train),
        )
        bands = self.form().bands if self._asked else None
        return spec if bands is None else replace(spec, **bands.for_spec())

    def identity(self) -> DataIdentity:
        """Returns folder, classes and a fingerprint of each split's names and labels, and of the bands where asked."""
        train, val, _, _ = self._read()
        bands = self.form().bands if self._asked else None
        splits = {"train": train.identity(), "val": val.identity()}
        whole = whole_fingerprint(line for part in (train, val) for line in part.lines()) if self.folded else ""
        marked = splits if bands is None else bands.marked(splits)
        return DataIdentity(self.data_root(), train.classes, marked, whole)

    def summary(self) -> str:
        """Returns counts, folder and origin in one line."""
        train, val, _, origin = self._read()
        counts = f"{len(train):,} training and {len(val):,} validation images of {len(train.classes):,} classes"
        return f"{counts} in {self.data_root()} ({'; '.join((origin, *self.notes()))})"

    def notes(self) -> list[str]:
        """Returns what the summary adds: classes without validation images, files left out, how pictures are read."""
        train, val, names, _ = self._read()
        left_out = LeftOut.join({id(part.left_out): part.left_out for part in (train, val)}.values()).words()
        not_judged = _classes_without_val(val, names) if len(names) > 1 else ""
        form = self.form()
        decoding = decode_note(self.reduced_decode, form.jpeg_side, self.image_size)
        skipped = TrainTransform(self, form.bands).left_out
        colours = f"RandAugment leaves out {', '.join(skipped)}, which are for 8-bit RGB" if skipped else ""
        return [
            note for note in (not_judged, case_note(train.classes), left_out, *form.notes, colours, decoding) if note
        ]

    def train_dataset(self, seed: int) -> FolderDataset:
        """Returns the training images, augmented by (seed, epoch, index)."""
        train, form = self._read().train, self.form()
        transform, reduced = TrainTransform(self, form.bands), self.reduced_decode != "never"
        return FolderDataset(train, transform, seed, decoder=self.decoder, reading=form.reading, reduced=reduced)

    def plain_train_dataset(self) -> FolderDataset:
        """Returns the training images, resized and centre-cropped."""
        reading = self.form().reading  # first: it decides what `_eval` is
        return FolderDataset(self._read().train, self._eval, None, reading=reading)

    def val_dataset(self) -> FolderDataset:
        """Returns the validation images, resized and centre-cropped."""
        reading = self.form().reading
        return FolderDataset(self._read().val, self._eval, None, reading=reading)

    def balance(self) -> Balance | None:
        """Returns how many images have each class, label or grade."""
        train, val, names, _ = self._read()
        if not names or self.published.target == "none":
            return None
        of_train, of_val = (list(_class_counts(part.labels, len(names))) for part in (train, val))
        return Balance("images", of_train, of_val) if of_train and of_val else None

    def train_files(self) -> list[str]:
        """Returns the paths of the training images."""
        return list(self._read().train.paths())

    def image_labels(self) -> dict[str, Any]:
        """Returns the label of each image of both splits by its absolute path."""
        if self.published.target == "none":
            return super().image_labels()
        found: dict[str, Any] = {}
        for part in self._read()[:2]:
            folder = Path(part.root).resolve()
            found |= {os.path.normpath(folder / name): part.label(at) for at, name in enumerate(part.names)}
        return found

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `EvalTransform` in use, with the white of pictures of more than 8 bits."""
        white = self.form().reading.plain()
        return {**self._eval.describe(), **white}

    @staticmethod
    def collate(samples: list[Sample]) -> ImageBatch:
        """Stacks samples into an `ImageBatch`."""
        return collate_images(samples)

    def data_root(self) -> Path:
        """Returns the absolute path of the data folder.

        Raises:
            UserError: none was given.
        """
        if self.root is not None:
            return Path(self.root).expanduser().absolute()
        if self.synthetic is not None:
            return self.digits_root()
        advice = f"add --data.root DIR with your images ({self.expected}), or --data.synthetic {self.made}"
        raise UserError(f"no data given; {advice}")

    def _read(self) -> Splits:
        if self._splits is None:
            splits = self.read_splits(self.data_root())
            require_distinct(splits.train.classes, splits.train.root)
            self._splits = splits
        return self._splits


def _class_counts(labels: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """Returns how many images have each class, of classes [n] or rows of labels [n, L]; empty of values."""
    if labels.ndim == 2:
        return tuple(labels.sum(0, dtype=np.int64).tolist()) if labels.dtype == np.uint8 else ()
    return tuple(np.bincount(labels, minlength=num_classes).tolist())


def _classes_without_val(val: Listing, names: Sequence[str]) -> str:
    """Returns which classes have no validation images, for the summary; empty if each has some."""
    counts = _class_counts(val.labels, len(names))
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if not empty:
        return ""
    which = ", ".join(f"'{name}'" for name in empty[:MAX_NAMED]) + (", ..." if empty[MAX_NAMED:] else "")
    return f"{len(empty):,} of {len(names):,} classes have no validation images and are not judged: {which}"
