"""Images with one label map each, as the data of a segmentation task."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from maekit.base.data import TransferData
from maekit.base.findings import Findings
from maekit.base.identity import DataIdentity
from maekit.base.spec import DataSpec
from maekit.data.digit_scenes import OWN_FORM, SceneForm, make_scenes, scenes_root
from maekit.data.folders.duplicates import same_images
from maekit.data.images.picture_form import PictureForm, White, require_white, upright_form
from maekit.errors import UserError
from maekit.segmentation.data.check import Known, check_pairs
from maekit.segmentation.data.classes import given_classes, lacking_classes, read_classes
from maekit.segmentation.data.dataset import (
    SegBatch,
    SegEvalBatch,
    SegEvalDataset,
    SegSample,
    SegTrainDataset,
    collate_scenes,
)
from maekit.segmentation.data.labels.decision import Decision, decide
from maekit.segmentation.data.labels.evidence import Evidence, read_evidence
from maekit.segmentation.data.labels.problems import contradiction, judge
from maekit.segmentation.data.labels.tree import SegTree, given_coding, read_splits
from maekit.segmentation.data.layout.layout import Pairs
from maekit.segmentation.data.palette import Colour, spread_palette
from maekit.segmentation.data.transforms.transforms import SegEvalTransform, SegTrainTransform
from maekit.system.ranges import check_range

__all__ = ["Colour", "SegBatch", "SegEvalBatch", "SegTree", "SegmentationFolders", "spread_palette"]


class SegmentationFolders(TransferData):
    """`images/{train,val}` with `masks/{train,val}`, and the class names in `classes.txt`.

    Other usual names and orders of the folders are found too; see `find_folders`. An image and its label map have one
    name but for the suffix and words such as `_mask`; a label map holds one class number a pixel (grey or palette PNG),
    255 is ignored. Without a validation split a share of the training images is set aside.

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
        reduce_zero_label: bool | Literal["auto"] = "auto",
        label_values: list[int] | None = None,
        classes: list[str] | str | None = None,
        allow_empty: bool = False,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        white: White = "auto",
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
            reduce_zero_label: in the label files 0 is unlabelled and the classes start at 1, as in ADE20K; false: they
                start at 0; auto: decided from the values in up to 500 training label maps, and refused where both fit.
            label_values: the value of each class in the label files, in label order, such as [0,255]; null where they
                are numbered one after the other.
            classes: names of the classes in label order, or a file of them; null for `classes.txt` in the folder.
            allow_empty: train although a class has no pixel in the training label maps, or a label map none that
                counts.
            val_fraction: share of the images set aside for validation where there is no such split, above 0 and below
                1.
            split_seed: chooses which images that share holds.
            white: value that becomes white in pictures of more than 8 bits a channel, as 4095; brighter ones are
                clipped. auto: found in a sample of them, and said.
        """
        require_white(white)
        super().__init__(root=root, synthetic=synthetic, num_workers=num_workers, total_batch_size=total_batch_size,
                         device_batch_size=device_batch_size)  # fmt: skip
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction: got {val_fraction}, expected above 0 and below 1")
        self.reduce_zero_label = reduce_zero_label
        self.label_values, self.classes, self.allow_empty = label_values, classes, allow_empty
        self.val_fraction, self.split_seed, self.white = val_fraction, split_seed, white
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
        self._make_augmentation()  # refuses what is out of range before any image is read
        check_range("data.split_seed", split_seed, "[0, inf)")
        self._tree: SegTree | None = None
        self._decision: Decision | None = None
        self._evidence: Evidence | None = None
        self._facts: list[str] = []

    def read_tree(self, root: Path) -> SegTree:
        """Pairs the images with their label maps and reads the class names.

        Raises:
            UserError: the folder does not have the expected form.
        """
        return read_splits(root, self.class_names, self.val_fraction, self.split_seed)

    def class_names(self, root: Path, train: Pairs) -> tuple[str, ...]:
        """Returns the names that `data.classes` or `classes.txt` gives, or raises a UserError."""
        names = given_classes(self.classes) if self.classes else read_classes(root)
        if names is None:
            raise lacking_classes(root)
        return names

    @classmethod
    def lacking(cls, tree: SegTree) -> list[str]:
        """Returns one line for each thing that a published data set should have and this one has not: here, none."""
        return []

    def setup(self) -> None:
        """Lists the files, decides the coding, and makes the scenes where they are asked for and not there yet.

        Raises:
            UserError: the coding cannot be decided, or a given one does not fit where the other one does.
        """
        if not self._known and self.reduce_zero_label != "auto":
            contradicted = contradiction(self._decide().coding, self._read().names, self._train_evidence())
            if contradicted and not self.allow_empty:
                raise UserError(contradicted)
        self._decide()
        _ = self.pictures

    @cached_property
    def pictures(self) -> PictureForm:
        """How images are read: what is white in pictures of more than 8 bits."""
        return self._form_of(self._read())

    def resolved(self) -> dict[str, Any]:
        """Returns whether 0 is unlabelled, as it was given or decided."""
        return {"reduce_zero_label": self._decide().coding.reduce_zero_label}

    def require_trainable(self) -> None:
        """Refuses label maps with a wrong value, in which nothing counts, or without one of the classes.

        Up to 500 label maps of each split are read, none of the published data set and of made data.

        Raises:
            UserError: with the first of what is wrong.
        """
        tree = self._read()
        if self._known:
            return
        val = read_evidence(tree.val.pairs)
        found = judge(self._decide().coding, tree.names, self._train_evidence(), val, allow_empty=self.allow_empty)
        if found.problems:
            raise UserError(found.problems[0])
        same = same_images(tree.train.pairs.image_paths(), tree.val.pairs.image_paths())
        self._facts = found.facts + ([same] if same else [])

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
        tree = self._read()
        splits = {"train": tree.train.pairs.identity(), "val": tree.val.pairs.identity()}
        return DataIdentity(self._data_root(), tree.names, splits)

    def summary(self) -> str:
        """Returns counts and folder in one line, how the label maps count and why, and what else is worth saying."""
        tree, decision = self._read(), self._decide()
        pairs = f"{len(tree.train.pairs):,} training and {len(tree.val.pairs):,} validation images"
        coding = f"label maps: {decision.coding.describe()}{f'; {decision.why}' if decision.why else ''}"
        words = "; ".join([coding, *tree.notes, *self.pictures.notes, *self._facts])
        return f"{pairs} of {len(tree.names):,} classes in {self._data_root()} ({words})"

    def train_dataset(self, seed: int) -> SegTrainDataset:
        """Returns random crops of the training images, by (seed, epoch, index)."""
        pairs, reading = self._read().train.pairs, self.pictures.reading
        return SegTrainDataset(pairs, self._decide().coding, self._make_augmentation(), seed, reading)

    def plain_train_dataset(self) -> SegEvalDataset:
        """Returns the training images as they would be evaluated."""
        return SegEvalDataset(self._read().train.pairs, self._decide().coding, self._eval, self.pictures.reading)

    def val_dataset(self) -> SegEvalDataset:
        """Returns the validation images, resized, and their labels at the file's own size."""
        return SegEvalDataset(self._read().val.pairs, self._decide().coding, self._eval, self.pictures.reading)

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `SegEvalTransform` in use."""
        return {**self._eval.describe(), **self.pictures.reading.plain()}

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
            given, form = self._given(tree), self._form_of(tree)
        except UserError as error:
            findings.problems.append(str(error))
            return findings
        findings.problems += self.lacking(tree)
        findings.facts += [*tree.notes, *form.notes]
        known = Known(tree.names, given, not tree.published, self.allow_empty, form.reading)
        check_pairs(tree.train, tree.val, known, findings, classes=classes, full=full)
        return findings

    def _decide(self) -> Decision:
        if self._decision is None:
            tree = self._read()
            self._decision = self._given(tree) or decide(self._train_evidence(), tree.names)
        return self._decision

    def _given(self, tree: SegTree) -> Decision | None:
        known = self.form.unlabelled if tree.published or self.root is None else None
        return given_coding(tree, self.reduce_zero_label, self.label_values, known)

    def _form_of(self, tree: SegTree) -> PictureForm:
        parts = [(len(part.pairs), part.pairs.image) for part in (tree.train, tree.val)]
        return upright_form(parts, self.white, known=tree.published or self.root is None)

    @property
    def _known(self) -> bool:  # published and made data need no look
        return self.root is None or self._read().published

    def _train_evidence(self) -> Evidence:
        if self._evidence is None:
            self._evidence = read_evidence(self._read().train.pairs)
        return self._evidence

    def _data_root(self) -> Path:
        if self.root is not None:
            return Path(self.root).expanduser().absolute()
        if self.synthetic is not None:
            return scenes_root(self.form)
        raise UserError(f"no data given; add --data.root DIR ({self.expected}), or --data.synthetic scenes")

    def _read(self) -> SegTree:
        if self._tree is None:
            tree = self.read_tree(self._data_root())
            for problem in (*tree.train.problems, *tree.val.problems):
                raise UserError(problem)
            self._tree = tree
        return self._tree
