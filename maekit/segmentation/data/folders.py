"""Images with one label map each, as the data of a segmentation task."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from maekit.base.data import Balance, TransferData
from maekit.base.findings import Findings
from maekit.base.identity import DataIdentity, whole_fingerprint
from maekit.base.pixel_labels import PixelLabels
from maekit.base.spec import DataSpec
from maekit.data.digit_scenes import OWN_FORM, SceneForm, make_scenes, scenes_root
from maekit.data.images.bands.flags import BandFlags
from maekit.data.images.bands.stats_file import NAME
from maekit.data.images.picture_form import PictureForm, White, require_white, upright_form
from maekit.errors import UserError
from maekit.segmentation.data.check import check_pairs
from maekit.segmentation.data.classes import given_classes, lacking_classes, read_classes
from maekit.segmentation.data.colours import ColourTable, choose_table
from maekit.segmentation.data.dataset import (
    SegBatch,
    SegEvalBatch,
    SegEvalDataset,
    SegSample,
    SegTrainDataset,
    collate_scenes,
)
from maekit.segmentation.data.division import Division
from maekit.segmentation.data.labels.label_maps import LabelMaps, given_coding
from maekit.segmentation.data.labels.present import possible_classes
from maekit.segmentation.data.layout.layout import Pairs
from maekit.segmentation.data.layout.tree import SegTree
from maekit.segmentation.data.palette import Colour, spread_palette
from maekit.segmentation.data.pixel_labels import pixel_labels_of
from maekit.segmentation.data.transforms.settings import SegAugmentation
from maekit.segmentation.data.transforms.transforms import SegEvalTransform, SegTrainTransform


@dataclass(kw_only=True, eq=False, repr=False)
class SegmentationFolders(SegAugmentation, BandFlags, Division, TransferData):
    """`images/{train,val}` with `masks/{train,val}`, and the class names in `classes.txt`.

    Other common names and orders of the folders are found too; see `find_folders`. An image and its label map have the
    same name but for the suffix and words such as `_mask`; a label map holds one class number a pixel (grey or palette
    PNG), 255 is ignored. Without a validation split a share of the training images is set aside. A table may list
    images and label maps instead.

    Args:
        synthetic: made data to use where no root is given: `scenes` are scikit-learn's digits on textures.
        reduce_zero_label: in the label files 0 is unlabelled and the classes start at 1, as in ADE20K; false: they
            start at 0; auto: decided from the values in up to 500 training label maps, and refused where both fit.
        label_values: the value of each class in the label files, in label order, such as [0,255]; null where they
            are numbered one after the other.
        classes: names of the classes in label order, or a file of them; null for `classes.txt` in the folder.
        colours: file with name and r,g,b or #hex of each class, a line each, for masks coded by colours; also the
            class names where none are given. null: class_dict.csv, labelmap.txt or the like where masks are RGB.
        colour_edges: what to do with masks whose edges have colours between those of two classes, as after
            smoothing: refuse, or ignore those pixels.
        allow_empty: train although a class has no pixel in the training label maps, or a label map none that
            counts.
        white: value that becomes white in pictures of more than 8 bits a channel, as 4095; brighter ones are
            clipped. auto: found in a sample of them, and printed.

    Attributes:
        expected: what the folder should hold, for the error where no folder was given.
        form: the folder names and label values of made data.
    """

    published: ClassVar[DataSpec] = DataSpec(("class_0000", "class_0001"), (512, 512))
    expected: ClassVar[str] = "images/train, images/val, masks/train, masks/val and classes.txt"
    form: ClassVar[SceneForm] = OWN_FORM

    synthetic: Literal["scenes"] | None = None
    reduce_zero_label: bool | Literal["auto"] = "auto"
    label_values: list[int] | None = None
    classes: list[str] | str | None = None
    colours: str | None = None
    colour_edges: Literal["refuse", "ignore"] = "refuse"
    allow_empty: bool = False
    white: White = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_white(self.white)
        self._asked = self.asked_bands()
        self.checked_share()
        SegTrainTransform(self)  # refuses numbers that are out of range before any image is read
        self._eval = SegEvalTransform(resize=self.resize, min_side=self.crop_size, mean=self.mean, std=self.std)
        self._notes: list[str] = []

    def read_tree(self, root: Path) -> SegTree:
        """Pairs the images with their label maps and reads the class names.

        Raises:
            UserError: the folder does not have the expected form.
        """
        tree = self.read_divided(root, self.class_names, self._possible, allow_lone=self.allow_empty)
        table = self._colours(root, tree.train.pairs)
        return tree if table is None else tree.coloured(table.in_order(tree.names))

    def _possible(self, pairs: Pairs) -> tuple[Pairs, dict[int, str]]:
        """Returns pairs with their table of colours, and the name of each value that may be a class."""
        root = self._data_root()
        names, table = self.class_names(root, pairs), self._colours(root, pairs)
        return replace(pairs, colours=table), possible_classes(names, self.reduce_zero_label, self.label_values, table)

    def sample_weights(self) -> np.ndarray | None:
        """Returns the weights by which training images are drawn, [images]; None draws each once an epoch."""
        return self.label_maps.tree.train.pairs.weights

    def _colours(self, root: Path, train: Pairs) -> ColourTable | None:
        zero = "data.reduce_zero_label true" if self.reduce_zero_label is True else ""
        other, ignore = "data.label_values" if self.label_values else zero, self.colour_edges == "ignore"
        return choose_table(root, self.colours, train.label(0), other, ignore_edges=ignore)

    def class_names(self, root: Path, train: Pairs) -> tuple[str, ...]:
        """Returns the class names of `data.classes` or `classes.txt`.

        Raises:
            UserError: there are none, or they cannot be used.
        """
        names = given_classes(self.classes) if self.classes else read_classes(root)
        table = None if names else self._colours(root, train)
        if table is not None:
            return table.names
        if names is None:
            raise lacking_classes(root)
        return names

    @classmethod
    def lacking(cls, tree: SegTree) -> list[str]:
        """Returns one line for each thing that a published data set has and this folder lacks; here none."""
        return []

    def setup(self) -> None:
        """Lists the files and decides the coding; makes the scenes where they are asked for and not there yet.

        Raises:
            UserError: the coding cannot be decided, or the given one does not fit where the other one does.
        """
        if not self._coding_is_known and self.reduce_zero_label != "auto":
            self.label_maps.require_consistent()
        _ = self.label_maps.decision, self.pictures

    @cached_property
    def label_maps(self) -> LabelMaps:
        """The pairs of both splits with the coding of their label maps.

        Raises:
            UserError: no folder was given, it does not have the expected form, or a file has no partner.
        """
        tree = self.read_tree(self._data_root())
        for problem in (*tree.train.problems, *tree.val.problems):
            raise UserError(problem)
        return self._label_maps_of(tree)

    @cached_property
    def pictures(self) -> PictureForm:
        """How image files become 8-bit RGB, or which bands of them are read."""
        return self._picture_form_of(self.label_maps.tree)

    def resolved(self) -> dict[str, Any]:
        """Returns whether 0 is unlabelled, as given or decided, and the file of statistics found beside the data."""
        found = self.stats is None and self._asked and self.pictures.bands
        stats = {"stats": str(self._data_root() / NAME)} if found else {}
        return {"reduce_zero_label": self.label_maps.coding.reduce_zero_label, **stats}

    def require_trainable(self) -> None:
        """Refuses label maps with a wrong value, without a counted pixel, or without one of the classes.

        Up to 500 label maps of each split are read, except of the published data set and of made data.

        Raises:
            UserError: with the first problem.
        """
        if not self._coding_is_known:
            self._notes = self.label_maps.require_trainable()

    def assumed_spec(self) -> DataSpec:
        """Returns the published spec at the crop size asked for; nothing is read."""
        return replace(self.published, image_size=(self.crop_size, self.crop_size), **self._asked.assumed())

    def spec(self) -> DataSpec:
        """Returns the classes found, the crop size asked for and the colours."""
        tree = self.label_maps.tree
        names, table = tree.names, tree.train.pairs.colours
        colours = self.palette_of(names) if table is None else table.colours
        spec = DataSpec(names, (self.crop_size, self.crop_size), palette=tuple(colours))
        bands = self.pictures.bands if self._asked else None
        return spec if bands is None else replace(spec, **bands.for_spec())

    @classmethod
    def palette_of(cls, names: tuple[str, ...]) -> list[Colour]:
        """Returns one colour for each of the classes."""
        return spread_palette(len(names))

    def identity(self) -> DataIdentity:
        """Returns folder, classes and a fingerprint of each split's images and label maps."""
        tree = self.label_maps.tree
        splits = {"train": tree.train.pairs.identity(), "val": tree.val.pairs.identity()}
        bands = self.pictures.bands if self._asked else None
        marked = splits if bands is None else bands.marked(splits)
        whole = whole_fingerprint(tree.lines()) if self.fold is not None else ""
        return DataIdentity(self._data_root(), tree.names, marked, whole)

    def summary(self) -> str:
        """Returns one line: counts, classes and folder, the coding and its reason, and notes on the files."""
        tree, decision = self.label_maps.tree, self.label_maps.decision
        pairs = f"{len(tree.train.pairs):,} training and {len(tree.val.pairs):,} validation images"
        coding = f"label maps: {decision.coding.describe()}{f'; {decision.why}' if decision.why else ''}"
        skipped = self._train_transform().left_out
        left_out = [f"{', '.join(skipped)} is left out, which is for 8-bit RGB"] if skipped else []
        notes = "; ".join([coding, *tree.notes, *self.pictures.notes, *left_out, *self._notes])
        return f"{pairs} of {len(tree.names):,} classes in {self._data_root()} ({notes})"

    def train_dataset(self, seed: int) -> SegTrainDataset:
        """Returns random crops of the training images, by (seed, epoch, index)."""
        maps, reading = self.label_maps, self.pictures.reading
        return SegTrainDataset(maps.tree.train.pairs, maps.coding, self._train_transform(), seed, reading)

    def _train_transform(self) -> SegTrainTransform:
        return SegTrainTransform(self, self.pictures.bands)

    @cached_property
    def _evaluation(self) -> SegEvalTransform:
        bands = self.pictures.bands
        if bands is None:
            return self._eval
        return SegEvalTransform(resize=self.resize, min_side=self.crop_size, **bands.plain())

    def balance(self) -> Balance:
        """Returns how many label maps have each class."""
        return self.label_maps.balance()

    def train_files(self) -> list[str]:
        """Returns the paths of the training images."""
        return self.read_tree(self._data_root()).train.pairs.image_paths()

    def pixel_labels(self) -> PixelLabels:
        """Returns the label maps of both splits."""
        return pixel_labels_of(self.label_maps)

    def plain_train_dataset(self) -> SegEvalDataset:
        """Returns the training images as they would be evaluated."""
        maps = self.label_maps
        return SegEvalDataset(maps.tree.train.pairs, maps.coding, self._evaluation, self.pictures.reading)

    def val_dataset(self) -> SegEvalDataset:
        """Returns the validation images, resized, and their labels at the file's own size."""
        maps = self.label_maps
        return SegEvalDataset(maps.tree.val.pairs, maps.coding, self._evaluation, self.pictures.reading)

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `SegEvalTransform` in use."""
        return {**self._evaluation.describe(), **self.pictures.reading.plain()}

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
            maps, form = self._label_maps_of(tree), self._picture_form_of(tree)
        except UserError as error:
            findings.problems.append(str(error))
            return findings
        findings.problems += self.lacking(tree)
        findings.facts += [*tree.notes, *form.notes]
        check_pairs(maps, form.reading, findings, classes=classes, full=full)
        return findings

    def _label_maps_of(self, tree: SegTree) -> LabelMaps:
        known = self.form.unlabelled if tree.published or self._is_made else None
        given = given_coding(tree, self.reduce_zero_label, self.label_values, known)
        return LabelMaps(tree, given, self.allow_empty)

    def _picture_form_of(self, tree: SegTree) -> PictureForm:
        parts = [(len(part.pairs), part.pairs.image) for part in (tree.train, tree.val)]
        known = tree.published or self._is_made
        return upright_form(parts, self.white, known=known, asked=self._asked, folder=self._data_root())

    @property
    def _coding_is_known(self) -> bool:
        """True for the published data set and for made data, whose label maps need no check."""
        return self._is_made or self.label_maps.tree.published

    @property
    def _is_made(self) -> bool:
        return self.root is None and self.table is None

    def _data_root(self) -> Path:
        if self.root is None and self.table is not None:
            return self.table_file().parent
        if self.root is not None:
            return Path(self.root).expanduser().absolute()
        if self.synthetic is not None:
            return scenes_root(self.form)
        raise UserError(f"no data given; add --data.root DIR ({self.expected}), or --data.synthetic scenes")
