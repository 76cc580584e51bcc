"""COCO 2017, or another data set with annotation files of its form, as the data of a detection task."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import yaml

from maekit.base.data import Balance, TransferData
from maekit.base.findings import Findings
from maekit.base.identity import DataIdentity, whole_fingerprint
from maekit.base.spec import DataSpec
from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.flags import BandFlags
from maekit.data.images.bands.stats_file import NAME
from maekit.data.images.picture_form import PictureForm, White, choose_form, require_white
from maekit.data.images.reduced_size import ReducedTraining, decode_note
from maekit.detection.data.batch import DetBatch, DetEvalBatch
from maekit.detection.data.coco.check import check_coco
from maekit.detection.data.coco.dataset import (
    DetEvalDataset,
    DetEvalSample,
    DetSample,
    DetTrainDataset,
    collate_objects,
)
from maekit.detection.data.coco.file import CocoFile
from maekit.detection.data.coco.layout import EXPECTED, Form, Part, Places
from maekit.detection.data.coco.remarks import Masks, read_parts, remarks
from maekit.detection.data.coco.scenes import make_object_scenes, object_scenes_root
from maekit.detection.data.coco.shared_images import image_lines
from maekit.detection.data.division import Division
from maekit.detection.data.listed import Listed
from maekit.detection.data.transforms import DetEvalTransform, DetTrainTransform
from maekit.errors import UserError
from maekit.system.yaml_loader import YAML_LOADER


def published_categories() -> dict[int, str]:
    """Returns the name of each of COCO's 80 categories, by ascending id."""
    found = yaml.load(Path(__file__).with_name("coco_classes.yaml").read_text(encoding="utf-8"), YAML_LOADER)
    return {int(ident): str(name) for ident, name in found.items()}


CATEGORIES = published_categories()


def spec_of(categories: dict[int, str], image_size: int) -> DataSpec:
    """Returns the classes in the order of their ids, with the ids as text."""
    return DataSpec(tuple(categories.values()), (image_size, image_size), tuple(map(str, categories)))


@dataclass(kw_only=True, eq=False, repr=False)
class COCO(BandFlags, Division, TransferData):
    """COCO 2017 as it is unpacked, or images with annotation files of its form and any categories.

    Data in YOLO's form are read too, where the folder has no JSON file for training; see `find_yolo`. A table may
    divide the images of one list; their boxes and shapes are read from COCO's or YOLO's files.

    Classes are in the order of the category ids, which may have gaps. Training leaves out crowds and images without any
    other object; evaluation has all. An annotation with a box and no usable shape counts for box AP alone, and one
    with neither is left out. Where boxes alone are learned, all that have a box or a shape are.

    Args:
        synthetic: made data to use where no root is given: `scenes` are scikit-learn's digits on textures.
        masks: whether shapes are learned and measured, beside boxes; false for boxes alone (Faster R-CNN). auto: true,
            but false where no training object has a shape, which is said.
        annotations: form of the annotations, where a folder has COCO's and YOLO's; auto: COCO's, which is said.
        train_json: annotations of the training images, relative to the root; null for COCO 2017's own name, or
            annotations/train.json, train.json and the like.
        val_json: annotations of the validation images.
        train_images: folder that the file names in `train_json` are relative to; null for train2017, or
            images/train, train or images.
        val_images: folder that the file names in `val_json` are relative to.
        image_size: height and width in pixels of the padded square a model is given.
        scale_range: smallest and largest random factor on the size that just fits the square, in training.
        horizontal_flip: probability of mirroring a training image; 0 where left and right differ, as in digits.
        mean: of the three channels, in 0..1.
        std: of the three channels, in 0..1.
        white: value that becomes white in pictures of more than 8 bits a channel, as 4095; brighter ones are
            clipped. auto: found in a sample of them, and printed.
        reduced_decode: `train` decodes training JPEGs at 1/2, 1/4 or 1/8 of their size where the view is made smaller
            by more; `never`, as the published numbers were measured. Evaluation decodes in full.
    """

    published: ClassVar[DataSpec] = spec_of(CATEGORIES, 1024)
    published_counts: ClassVar[tuple[int, int] | None] = (117_266, 5_000)  # images of train2017 that hold an object

    synthetic: Literal["scenes"] | None = None
    masks: Masks = "auto"
    annotations: Form = "auto"
    train_json: str | None = None
    val_json: str | None = None
    train_images: str | None = None
    val_images: str | None = None
    image_size: int
    scale_range: list[float]
    horizontal_flip: float
    mean: list[float]
    std: list[float]
    white: White = "auto"
    reduced_decode: ReducedTraining = "never"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_white(self.white)
        self._asked = self.asked_bands()
        self.share = self.checked_share()
        self.places = Places(self.train_json, self.val_json, self.train_images, self.val_images)
        self._eval = DetEvalTransform(image_size=self.image_size, mean=self.mean, std=self.std)
        self._train_transform()  # refuses numbers that are out of range before any image is read

    def _train_transform(self, bands: Bands | None = None) -> DetTrainTransform:
        return DetTrainTransform(
            image_size=self.image_size,
            scale_range=self.scale_range,
            horizontal_flip=self.horizontal_flip,
            mean=self.mean,
            std=self.std,
            bands=bands,
        )

    @cached_property
    def _evaluation(self) -> DetEvalTransform:
        bands = self.pictures.bands
        return self._eval if bands is None else DetEvalTransform(image_size=self.image_size, **bands.plain())

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The category id of each class, in label order."""
        return tuple(self.files[0].categories)

    def setup(self) -> None:
        """Reads the annotation files and a sample of the images; makes the scenes if they are asked for and missing."""
        _ = self.pictures

    @cached_property
    def files(self) -> tuple[CocoFile, CocoFile]:
        """The annotations of the training and the validation images.

        Raises:
            UserError: no folder was given, or see `read_parts`.
        """
        root = self._data_root()
        files = read_parts(self._parts(root), root, masks=self.masks)
        problem = self.share.overlap(*(list(file.names) for file in files))
        if problem:
            raise UserError(problem)
        return files

    @cached_property
    def pictures(self) -> PictureForm:
        """What is white in pictures of more than 8 bits, or which bands are read.

        Whether a picture is turned follows from its annotated size.

        Raises:
            UserError: a sample of the pictures does not show what is white, or the bands cannot be read.
        """
        parts = [(len(file), file.image) for file in self.files]
        form = choose_form(parts, "upright", self.white, "", self._asked, self._stats_folder())
        if form.bands and self.reduced_decode != "never":
            raise UserError("got data.reduced_decode train beside bands, expected never; leave it out")
        return form

    def resolved(self) -> dict[str, Any]:
        """Returns whether masks are learned, and the file of statistics that was found beside the data.

        An evaluation on other images needs both too.
        """
        found = self.stats is None and self._asked and self.pictures.bands
        stats = {"stats": str(self._stats_folder() / NAME)} if found else {}
        return {"masks": self.files[0].masks, **stats}

    def _stats_folder(self) -> Path:
        return self._data_root() or self.files[0].path.parent

    def assumed_spec(self) -> DataSpec:
        """Returns COCO's categories and the size asked for; nothing is read."""
        return replace(spec_of(CATEGORIES, self.image_size), masks=self.masks is not False, **self._asked.assumed())

    def spec(self) -> DataSpec:
        """Returns the categories found and the size asked for."""
        spec = replace(spec_of(self.files[0].categories, self.image_size), masks=self.files[0].masks)
        bands = self.pictures.bands if self._asked else None
        return spec if bands is None else replace(spec, **bands.for_spec())

    def identity(self) -> DataIdentity:
        """Returns folder, category ids with names, and a fingerprint of each split's images and annotations."""
        train, val = self.files
        classes = tuple(f"{ident} {name}" for ident, name in train.categories.items())
        splits = {"train": train.identity(), "val": val.identity()}
        if self._weights is not None:
            splits["train"] = splits["train"].with_mark(self._weights)
        bands = self.pictures.bands if self._asked else None
        marked = splits if bands is None else bands.marked(splits)
        lines = (line for file in self.files for line in image_lines(file))
        return DataIdentity(train.folder, classes, marked, whole_fingerprint(lines) if self.fold is not None else "")

    def summary(self) -> str:
        """Returns counts, the folder, and what is left out or odd, in one line."""
        train, val = self.files
        kept, objects = len(train.trainable()), int(train.learned.sum())
        images = f"{kept:,} of {len(train):,} training images with {objects:,} objects"
        found = f"{images}, {len(val):,} validation images, {len(train.categories):,} classes in {train.path.parent}"
        decoding = decode_note(self.reduced_decode, self.pictures.jpeg_side, self.image_size)
        return "; ".join([found, *remarks(train, val), *self.pictures.notes, *([decoding] if decoding else [])])

    def train_dataset(self, seed: int) -> DetTrainDataset:
        """Returns random views of the training images that hold an object, by (seed, epoch, index)."""
        reduced = self.reduced_decode == "train"
        transform = self._train_transform(self.pictures.bands)
        return DetTrainDataset(self.files[0], transform, seed, self.pictures.reading, reduced=reduced)

    def balance(self) -> Balance:
        """Returns how many objects of each class training uses, and how many the validation images have."""
        counts = []
        for file in self.files:
            labels = np.searchsorted(np.array(list(file.categories)), file.objects.category_ids[file.learned])
            counts.append(np.bincount(labels, minlength=len(file.categories)).tolist())
        return Balance("objects", *counts)

    def train_files(self) -> list[str]:
        """Returns the paths of the training images."""
        return [self.files[0].image(row) for row in range(len(self.files[0]))]

    def plain_train_dataset(self) -> DetEvalDataset:
        """Returns all training images as they would be evaluated."""
        return DetEvalDataset(self.files[0], self._evaluation, self.pictures.reading)

    def val_dataset(self) -> DetEvalDataset:
        """Returns all validation images with their annotations, in the order of the image ids."""
        return DetEvalDataset(self.files[1], self._evaluation, self.pictures.reading)

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `DetEvalTransform` in use, with the white of pictures of more than 8 bits."""
        return {**self._evaluation.describe(), **self.pictures.reading.plain()}

    @staticmethod
    def collate(samples: list[DetSample] | list[DetEvalSample]) -> DetBatch | DetEvalBatch:
        """Makes a `DetBatch` of training samples and a `DetEvalBatch` of whole images."""
        return collate_objects(samples)

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes the digit scenes; see `make_object_scenes`."""
        return make_object_scenes(root)

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies annotation files and images; see `check_coco`."""
        root = self._data_root()
        parts = self._parts(root)
        return check_coco(
            parts,
            root,
            classes=classes,
            full=full,
            white=self.white,
            share=self.share,
            asked=self._asked,
            masks=self.masks,
        )

    def _parts(self, root: Path | None) -> tuple[Part, Part]:
        return self.places.parts(root, self.share, self._listed, self.annotations)

    @cached_property
    def _listed(self) -> Listed | None:
        return self.listed(self._data_root())

    def sample_weights(self) -> np.ndarray | None:
        """Returns the weights by which training images are drawn, [images with an object]; None draws each once."""
        weights = self._weights
        return None if weights is None else weights[self.files[0].trainable()]

    @cached_property
    def _weights(self) -> np.ndarray | None:
        """What each training image counts, [images] float32."""
        return None if self._listed is None else self._listed.weights(self.files[0].folder, list(self.files[0].names))

    def _data_root(self) -> Path | None:
        if self.root is None and self.table is not None and self.places.need_root():
            return self.table_file().parent
        if self.root is not None:
            return Path(self.root).expanduser().absolute()
        if not self.places.need_root():
            return None
        if self.synthetic is not None:
            return object_scenes_root()
        advice = f"add --data.root DIR with your images ({EXPECTED}, or YOLO's data.yaml), or --data.synthetic scenes"
        raise UserError(f"no data given; {advice}")
