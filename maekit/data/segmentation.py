"""Images with one label map each, as the data of a segmentation task."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from maekit.data.base import TransferData
from maekit.data.digit_scenes import OWN_FORM, SceneForm, make_scenes, scenes_root
from maekit.data.findings import Findings
from maekit.data.identity import DataIdentity
from maekit.data.seg_check import check_pairs
from maekit.data.seg_dataset import (
    SegBatch,
    SegEvalBatch,
    SegEvalDataset,
    SegSample,
    SegTrainDataset,
    collate_scenes,
)
from maekit.data.seg_labels import Coding
from maekit.data.seg_layout import Paired, lacking_classes, pair_splits, read_classes
from maekit.data.seg_transforms import SegEvalTransform, SegTrainTransform
from maekit.data.spec import DataSpec
from maekit.errors import UserError

__all__ = ["SegBatch", "SegEvalBatch", "SegTree", "SegmentationFolders", "spread_palette"]

Colour = tuple[int, int, int]
PALETTE_LEVELS = 7


class SegTree(NamedTuple):
    """What a folder holds: both splits, paired, and one name a class in label order."""

    train: Paired
    val: Paired
    names: tuple[str, ...]


class SegmentationFolders(TransferData):
    """`images/{train,val}` with `masks/{train,val}`, and the class names in `classes.txt`.

    The folders may be called training, validation and annotations too. An image and its label map have one name but
    for the suffix; a label map holds one class number a pixel (grey or palette PNG), 255 is ignored.

    Attributes:
        expected: what the folder should hold, for whoever gave none.
        form: the form that made data are written in.
    """

    published: ClassVar[DataSpec] = DataSpec(("class_0000", "class_0001"), (512, 512))
    expected: ClassVar[str] = "images/train, images/val, masks/train, masks/val and classes.txt"
    form: ClassVar[SceneForm] = OWN_FORM

    def __init__(
        self,
        *,
        root: str | None,
        synthetic: Literal["scenes"] | None = None,
        total_batch_size: int,
        device_batch_size: int | None,
        num_workers: int | None = None,
        crop_size: int,
        resize: list[int],
        resize_ratio: list[float],
        cat_max_ratio: float,
        horizontal_flip: float,
        photometric: bool,
        mean: list[float],
        std: list[float],
        reduce_zero_label: bool = False,
    ) -> None:
        """Keeps the numbers; nothing is read.

        Args:
            root: folder of the data set.
            synthetic: made data to use where no root is given: `scenes` are scikit-learn's digits on textures.
            total_batch_size: images of one optimizer step, over all devices and accumulated batches.
            device_batch_size: images of one forward pass on one device; null to have it solved.
            num_workers: data-loading processes of each training process; null to choose by the cores.
            crop_size: height and width in pixels of a training crop, and the least side of an evaluated image.
            resize: longest and shortest side in pixels that an image is fitted into, ratio kept.
            resize_ratio: smallest and largest random factor on both of them in training.
            cat_max_ratio: share of a crop that its largest class must not reach, in ten tries; 1 for any crop.
            horizontal_flip: probability of mirroring a training image; 0 where left and right differ, as in digits.
            photometric: distort brightness, contrast, saturation and hue of training images.
            mean: of the three channels, in 0..1.
            std: of the three channels, in 0..1.
            reduce_zero_label: in the label files 0 is unlabelled and the classes start at 1, as in ADE20K.
        """
        super().__init__(
            total_batch_size=total_batch_size, device_batch_size=device_batch_size, num_workers=num_workers
        )
        self.root, self.synthetic, self.reduce_zero_label = root, synthetic, reduce_zero_label
        self._crop_size = crop_size
        self._eval = SegEvalTransform(resize=resize, min_side=crop_size, mean=mean, std=std)
        self._make_augmentation = partial(
            SegTrainTransform,
            crop_size=crop_size,
            resize=resize,
            resize_ratio=resize_ratio,
            cat_max_ratio=cat_max_ratio,
            horizontal_flip=horizontal_flip,
            photometric=photometric,
            mean=mean,
            std=std,
        )
        self._tree: SegTree | None = None

    @classmethod
    def read_tree(cls, root: Path) -> SegTree:
        """Pairs the images with their label maps and reads the class names.

        Raises:
            UserError: the folder does not have the expected form.
        """
        train, val = pair_splits(root)
        return SegTree(train, val, cls.class_names(root))

    @classmethod
    def class_names(cls, root: Path) -> tuple[str, ...]:
        """Returns the names in `classes.txt`, or raises a UserError."""
        names = read_classes(root)
        if names is None:
            raise lacking_classes(root)
        return names

    @classmethod
    def lacking(cls, tree: SegTree) -> list[str]:
        """Returns one line for each thing that a published data set should have and this one has not: here, none."""
        return []

    def setup(self) -> None:
        """Lists the files, and makes the scenes where they are asked for and not there yet."""
        self._read()

    def spec(self) -> DataSpec:
        """Returns the classes found, the crop size asked for and the colours."""
        return DataSpec(self._read().names, (self._crop_size, self._crop_size), palette=tuple(self.palette()))

    def palette(self) -> list[Colour]:
        """Returns one colour a class."""
        return self.colours(self._read().names)

    @classmethod
    def colours(cls, names: tuple[str, ...]) -> list[Colour]:
        """Returns one colour for each of the classes."""
        return spread_palette(len(names))

    def identity(self) -> DataIdentity:
        """Returns folder, classes and a fingerprint of each split's images and label maps."""
        train, val, names = self._read()
        splits = {"train": train.pairs.identity(), "val": val.pairs.identity()}
        return DataIdentity(self._data_root(), names, splits)

    def summary(self) -> str:
        """Returns counts and folder in one line."""
        train, val, names = self._read()
        counts = f"{len(train.pairs):,} training and {len(val.pairs):,} validation images of {len(names):,} classes"
        return f"{counts} in {self._data_root()} (label maps: {self._coding().describe()})"

    def train_dataset(self, seed: int) -> SegTrainDataset:
        """Returns random crops of the training images, by (seed, epoch, index)."""
        return SegTrainDataset(self._read().train.pairs, self._coding(), self._make_augmentation(), seed)

    def plain_train_dataset(self) -> SegEvalDataset:
        """Returns the training images as they would be evaluated."""
        return SegEvalDataset(self._read().train.pairs, self._coding(), self._eval)

    def val_dataset(self) -> SegEvalDataset:
        """Returns the validation images, resized, and their labels at the file's own size."""
        return SegEvalDataset(self._read().val.pairs, self._coding(), self._eval)

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `SegEvalTransform` in use."""
        return self._eval.describe()

    @staticmethod
    def collate(samples: list[SegSample]) -> SegBatch | SegEvalBatch:
        """Makes a `SegBatch` of training samples and a `SegEvalBatch` of whole images."""
        return collate_scenes(samples)

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes the digit scenes; see `make_scenes`."""
        return make_scenes(root, cls.form)

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies layout, class count and files; see `check_pairs`."""
        findings = Findings()
        try:
            tree = self.read_tree(self._data_root())
        except UserError as error:
            findings.problems.append(str(error))
            return findings
        findings.problems += self.lacking(tree)
        coding = Coding(len(tree.names), self.reduce_zero_label)
        check_pairs(tree.train, tree.val, tree.names, coding, findings, classes=classes, full=full)
        return findings

    def _coding(self) -> Coding:
        return Coding(len(self._read().names), self.reduce_zero_label)

    def _data_root(self) -> Path:
        if self.root is not None:
            return Path(self.root).expanduser().absolute()
        if self.synthetic is not None:
            return scenes_root(self.form)
        advice = f"add --data.root DIR with your images ({self.expected}), or --data.synthetic scenes"
        raise UserError(f"no data given; {advice}")

    def _read(self) -> SegTree:
        if self._tree is None:
            tree = self.read_tree(self._data_root())
            problems = [*tree.train.problems, *tree.val.problems]
            if problems:
                raise UserError(problems[0])
            self._tree = tree
        return self._tree


def spread_palette(n: int) -> list[Colour]:
    """Returns n colours, each as far from all before it as it can be: the first ones are the first of any longer list.

    Args:
        n: 1 to 254.
    """
    levels = np.round(np.linspace(0, 255, PALETTE_LEVELS)).astype(np.int64)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    far = (
        ((grid[:, None] - np.array([[0, 0, 0], [255, 255, 255]])) ** 2).sum(axis=2).min(axis=1)
    )  # text is black, white
    chosen = []
    for _ in range(n):
        pick = int(far.argmax())
        chosen.append(pick)
        far = np.minimum(far, ((grid - grid[pick]) ** 2).sum(axis=1))
    return [(int(r), int(g), int(b)) for r, g, b in grid[chosen]]
