"""ImageNet-A, -R, -Sketch and -C, those of them that are there, as data that a classifier is evaluated on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from maekit.base.data import TransferData
from maekit.base.findings import Findings
from maekit.base.identity import DataIdentity, Split, fingerprint
from maekit.data.digits import cached, make
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.robustness.data.batch import (
    NoImages,
    RobustnessBatch,
    RobustnessImages,
    RobustnessSample,
    collate_robustness,
)
from maekit.robustness.data.check import check_robustness
from maekit.robustness.data.digits import DIGITS_FOLDER, write_robustness_digits
from maekit.robustness.data.layout import find_sets
from maekit.robustness.data.read import Reading, RobustnessSpec, absent, read_sets
from maekit.robustness.data.sets import SETS, cells, imagenet_synsets, published, title
from maekit.system.size import HeightWidth


@dataclass(kw_only=True, eq=False, repr=False)
class Robustness(TransferData):
    """The validation images of all data sets that are there, one after the other; there is nothing to train on.

    Args:
        root: folder that holds imagenet-a, imagenet-r, sketch and imagenet-c, or some of them.
        synthetic: made data to use where no folder is given: `digits` are scikit-learn's handwritten digits.
        total_batch_size: images evaluated at a time, over all devices.
        num_workers: data-loading processes of each process; null to choose by the cores.
        imagenet_a: folder of ImageNet-A, wherever it is.
        imagenet_r: folder of ImageNet-R.
        imagenet_sketch: folder of ImageNet-Sketch.
        imagenet_c: folder of ImageNet-C: its corruptions, or its unpacked archives (blur, noise, ...).
        image_size: height and width in pixels of what the model is given.
        eval_crop_fraction: centre crop's share of the resized short side, above 0 and at most 1.
        corrupted_crop_fraction: the same for ImageNet-C, whose files are crops of 224 pixels already: 1 takes them
            whole, as github.com/hendrycks/robustness does.
        mean: of the three channels, in 0..1.
        std: of the three channels, in 0..1.
    """

    published: ClassVar[RobustnessSpec] = RobustnessSpec(
        imagenet_synsets(),
        (224, 224),
        imagenet_synsets(),
        candidates={name: published(name).classes for name in ("imagenet_a", "imagenet_r")},
    )

    synthetic: Literal["digits"] | None = None
    imagenet_a: str | None = None
    imagenet_r: str | None = None
    imagenet_sketch: str | None = None
    imagenet_c: str | None = None
    image_size: int
    eval_crop_fraction: float
    corrupted_crop_fraction: float
    mean: list[float]
    std: list[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        folders = (self.imagenet_a, self.imagenet_r, self.imagenet_sketch, self.imagenet_c)
        self.given = dict(zip(SETS, folders, strict=True))
        if not 0 < self.corrupted_crop_fraction <= 1:
            raise UserError(
                f"data.corrupted_crop_fraction: got {self.corrupted_crop_fraction}, expected above 0 and at most 1"
            )
        self._eval, self._corrupted = (
            EvalTransform(image_size=self.image_size, crop_fraction=fraction, mean=self.mean, std=self.std)
            for fraction in (self.eval_crop_fraction, self.corrupted_crop_fraction)
        )
        self._reading: Reading | None = None

    def setup(self) -> None:
        """Reads the listings, and makes the digits if they are asked for and not there yet."""
        self._read()

    def spec(self) -> RobustnessSpec:
        """Returns all class folders of all data sets, and the classes of the data sets that have their own."""
        reading = self._read()
        return RobustnessSpec(
            reading.classes,
            HeightWidth(self.image_size, self.image_size),
            reading.classes,
            folders=reading.folders,
            candidates=reading.candidates,
        )

    def identity(self) -> DataIdentity:
        """Returns folder, classes and one fingerprint of all images."""
        parts = [part.listing.identity() for part in self._read().parts]
        whole = fingerprint(*(part.fingerprint.encode() for part in parts))
        folder = self._places()[0] or next(path for path in self._places()[1].values() if path)
        split = Split(sum(part.images for part in parts), whole)
        return DataIdentity(folder, self._read().classes, {"val": split})

    def summary(self) -> str:
        """Returns the data sets with their numbers of images, and those that are missing, in one line."""
        reading = self._read()
        counts: dict[str, int] = {}
        for part in reading.parts:
            name = cells()[part.cell].name
            counts[name] = counts.get(name, 0) + len(part.listing)
        there = ", ".join(f"{title(name)} ({count:,} images)" for name, count in counts.items())
        missing = ", ".join(absent(reading))
        return f"{there}; not there: {missing}" if missing else there

    def train_dataset(self, seed: int) -> NoImages:
        """Returns nothing: these data sets are for evaluation only."""
        return NoImages()

    def plain_train_dataset(self) -> NoImages:
        """Returns nothing: these data sets are for evaluation only."""
        return NoImages()

    def val_dataset(self) -> RobustnessImages:
        """Returns the images of all data sets, resized and centre-cropped."""
        return RobustnessImages(self._read().parts, self._eval, self._corrupted)

    def input_transform(self) -> dict[str, Any]:
        """Returns the arguments of the `EvalTransform` of all data sets but ImageNet-C."""
        return {**self._eval.describe()}

    @staticmethod
    def collate(samples: list[RobustnessSample]) -> RobustnessBatch:
        """Stacks samples into a `RobustnessBatch`."""
        return collate_robustness(samples)

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes hard, redrawn, traced and corrupted digits; see `write_robustness_digits`."""
        written = "90 hard, 180 redrawn, 150 sketched and 1,500 corrupted images of 10 classes"
        return f"wrote {written} to {make(root, write_robustness_digits)}"

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies layout, classes, counts of images and files of the data sets; see `check_robustness`."""
        return check_robustness(*self._places(), classes=classes, full=full)

    def _read(self) -> Reading:
        if self._reading is None:
            self._reading = read_sets(find_sets(*self._places()))
        return self._reading

    def _places(self) -> tuple[Path | None, dict[str, Path | None]]:
        root = Path(self.root).expanduser().absolute() if self.root is not None else None
        given = {k: Path(path).expanduser().absolute() if path else None for k, path in self.given.items()}
        return (root if root or any(given.values()) else self._made()), given

    def _made(self) -> Path:
        if self.synthetic is None:
            flags = ", ".join(f"--data.{name}" for name in self.given)
            raise UserError(
                "no data given; add --data.root DIR (a folder of imagenet-a, imagenet-r, sketch, imagenet-c, or some "
                f"of them), or one or more of {flags}, or --data.synthetic digits"
            )
        return cached(DIGITS_FOLDER, write_robustness_digits)
