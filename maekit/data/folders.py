"""Anyone's folder of class folders, as the data of a classification task."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from maekit.data.augment import TrainTransform
from maekit.data.base import TransferData
from maekit.data.batch import ImageBatch, Sample, collate_images
from maekit.data.check import check_class_folders
from maekit.data.findings import Findings
from maekit.data.folder_dataset import FolderDataset
from maekit.data.layout import class_folders, find_layout, same_classes
from maekit.data.listing import Listing, list_classes, split
from maekit.data.names import readable_names
from maekit.data.spec import DataSpec
from maekit.data.synthetic import digits_root, make_digits
from maekit.data.transforms import EvalTransform
from maekit.errors import UserError


class _Splits(NamedTuple):
    train: Listing
    val: Listing
    origin: str


class ClassFolders(TransferData):
    """A folder of `train/<class>/` and `val/<class>/`, or of class folders alone.

    Args:
        root: folder of the images: train/<class>/ and val/<class>/, or class folders of which a share is set aside.
        synthetic: made data to use where no root is given: `digits` are scikit-learn's handwritten digits.
        total_batch_size: images of one optimizer step, over all devices and accumulated batches.
        device_batch_size: images of one forward pass on one device; null to have it solved.
        num_workers: data-loading processes of each training process; null to choose by the cores.
        image_size: height and width in pixels of what the model is given.
        crop_scale: smallest and largest share of an image's area that a random training crop covers.
        crop_ratio: smallest and largest width / height of a random training crop.
        crop_clip: draw a training crop once and cut it to the image, as the linear probe does, not until one fits.
        horizontal_flip: probability of mirroring a training image; 0 where left and right differ, as in digits.
        rand_augment: timm's RandAugment policy, as rand-m9-mstd0.5-inc1; null for none.
        random_erasing: probability of overwriting a box of a training image with noise.
        eval_crop_fraction: centre crop's share of the resized short side at evaluation, above 0 and at most 1.
        val_fraction: share of each class set aside for validation where there is no val folder, above 0 and below 1.
        split_seed: chooses which images that share holds.
        mean: of the three channels, in 0..1.
        std: of the three channels, in 0..1.
        decoder: how training images are decoded: `fast` (torchvision's JPEG decoder, Pillow for what it cannot read) or
            `pillow`. Evaluation always uses Pillow, with which the published numbers were measured.
    """

    published: ClassVar[DataSpec] = DataSpec(("class_0000", "class_0001"), (224, 224))

    def __init__(
        self,
        *,
        root: str | None,
        synthetic: Literal["digits"] | None = None,
        total_batch_size: int,
        device_batch_size: int | None,
        num_workers: int | None = None,
        image_size: int,
        crop_scale: list[float],
        crop_ratio: list[float],
        crop_clip: bool = False,
        horizontal_flip: float,
        rand_augment: str | None,
        random_erasing: float,
        eval_crop_fraction: float,
        val_fraction: float,
        split_seed: int = 0,
        mean: list[float],
        std: list[float],
        decoder: Literal["fast", "pillow"] = "fast",
    ) -> None:
        super().__init__(
            total_batch_size=total_batch_size, device_batch_size=device_batch_size, num_workers=num_workers
        )
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction: got {val_fraction}, expected above 0 and below 1")
        self.root, self.synthetic = root, synthetic
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.decoder = decoder
        self._eval = EvalTransform(image_size=image_size, crop_fraction=eval_crop_fraction, mean=mean, std=std)
        self._make_augmentation = partial(
            TrainTransform,
            image_size=image_size,
            crop_scale=crop_scale,
            crop_ratio=crop_ratio,
            crop_clip=crop_clip,
            horizontal_flip=horizontal_flip,
            rand_augment=rand_augment,
            random_erasing=random_erasing,
            mean=mean,
            std=std,
        )
        self._splits: _Splits | None = None

    def setup(self) -> None:
        """Reads the listings, and makes the digits where they are asked for and not there yet."""
        self._read()

    def spec(self) -> DataSpec:
        """Returns the classes found and the image size asked for."""
        classes = self._read().train.classes
        size = self._eval.image_size
        return DataSpec(readable_names(self._data_root(), classes), (size, size), classes)

    def summary(self) -> str:
        """Returns counts, folder and the origin of the validation split in one line."""
        train, val, origin = self._read()
        counts = f"{len(train):,} training and {len(val):,} validation images of {len(train.classes):,} classes"
        return f"{counts} in {self._data_root()} ({origin})"

    def train_dataset(self, seed: int) -> FolderDataset:
        """Returns the training images, augmented by (seed, epoch, index)."""
        return FolderDataset(self._read().train, self._make_augmentation(), seed)

    def val_dataset(self) -> FolderDataset:
        """Returns the validation images, resized and centre-cropped."""
        return FolderDataset(self._read().val, self._eval, None)

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `EvalTransform` in use."""
        return self._eval.describe()

    @staticmethod
    def collate(samples: list[Sample]) -> ImageBatch:
        """Stacks samples into an `ImageBatch`."""
        return collate_images(samples)

    @classmethod
    def read_tree(cls, root: Path) -> tuple[Listing, Listing | None]:
        """Lists the training images, and the validation images where there is such a split.

        Raises:
            UserError: the folder does not have the expected form.
        """
        layout = find_layout(root)
        train = list_classes(layout.train, class_folders(layout.train))
        return train, cls.list_val(layout.val, train.classes) if layout.val else None

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

    @classmethod
    def check(cls, root: Path, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies layout, class count and files; see `check_class_folders`."""
        return check_class_folders(root, cls.read_tree, cls.lacking, classes=classes, full=full)

    @classmethod
    def lacking(cls, train: Listing, val: Listing | None) -> list[str]:
        """Returns one line for each thing that a published data set should have and this one has not: here, none."""
        return []

    def _data_root(self) -> Path:
        if self.root is not None:
            return Path(self.root).expanduser().absolute()
        if self.synthetic is not None:
            return self.digits_root()
        expected = "a folder of train/<class>/ and val/<class>/, or of class folders"
        raise UserError(f"no data given; add --data.root DIR with your images ({expected}), or --data.synthetic digits")

    def _read(self) -> _Splits:
        if self._splits is None:
            train, val = self.read_tree(self._data_root())
            origin = "its own validation split"
            if val is None:
                train, val = split(train, self.val_fraction, self.split_seed)
                origin = f"no val folder: {self.val_fraction:g} of each class set aside, split_seed {self.split_seed}"
            self._splits = _Splits(train, val, origin)
        return self._splits
