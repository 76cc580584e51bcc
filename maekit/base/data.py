"""What every data set gives a transfer task, and the seeding of one sample's augmentation."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.random.mtrand import get_bit_generator, set_bit_generator
from torch.utils.data import Dataset

from maekit.base.findings import Findings
from maekit.base.identity import DataIdentity
from maekit.base.pixel_labels import PixelLabels
from maekit.base.spec import DataSpec, Draw, Target
from maekit.errors import UserError
from maekit.system.ranges import check_range


class DrawDataset(Dataset[object], ABC):
    """Samples addressed by draws. It must pickle: data-loader workers may be started afresh.

    Attributes:
        reads_files: whether a sample is read from a file of its own, so that it takes time worth measuring.
    """

    reads_files: ClassVar[bool] = True

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of samples, padding not among them."""

    @abstractmethod
    def __getitem__(self, draw: Draw) -> Any:
        """Returns the sample of one draw; an index of -1 gives sample 0's picture, marked as padding."""

    def path_of(self, index: int) -> str:
        """Returns the path of one sample's image; empty where samples have no file of their own."""
        return ""


class Balance(NamedTuple):
    """How often each class occurs.

    Attributes:
        unit: what is counted: `images`, `objects` or `label maps` with a class.
        train: in the training images, one a class.
        val: in the validation images, likewise.
        part: words for what was counted where that is a part of them, as `500 of 20,210 training label maps`.
    """

    unit: str
    train: list[int]
    val: list[int]
    part: str = ""


class RunData(ABC):
    """What a run needs of its data. Building one reads nothing.

    Attributes:
        total_batch_size: images of one optimizer step, over all devices and accumulated batches.
        device_batch_size: images of one forward pass on one device; None for a device's whole share; `auto` until a run
            has chosen a number.
        num_workers: data-loading processes of each training process; None to choose.
    """

    total_batch_size: int
    device_batch_size: int | Literal["auto"] | None
    num_workers: int | None

    @abstractmethod
    def setup(self) -> None:
        """Reads the listings, making smoke data where asked; a second call does nothing."""

    def resolved(self) -> dict[str, Any]:
        """Returns the arguments that were decided from the data, for the run's config; sets up where needed."""
        return {}

    def require_trainable(self) -> None:  # noqa: B027 - most data sets are what their listing is
        """Refuses data that would teach less than they seem to; asked before a training starts.

        Raises:
            UserError: with the file or the class, and what to do.
        """

    @abstractmethod
    def spec(self) -> DataSpec:
        """Returns the facts a model is built from; sets up where that has not been done."""

    @abstractmethod
    def identity(self) -> DataIdentity:
        """Returns what tells this data set from another one; sets up where that has not been done."""

    def images_at_once(self) -> int | None:
        """Returns `device_batch_size`, once a run has chosen a number for `auto`."""
        assert self.device_batch_size != "auto", "no run has chosen the device batch yet"
        return self.device_batch_size

    @abstractmethod
    def summary(self) -> str:
        """Returns one line that says what was found, and how a validation split was made if it was."""

    @abstractmethod
    def train_dataset(self, seed: int) -> DrawDataset:
        """Returns the training samples, their augmentation drawn from (seed, epoch, index)."""

    def sample_weights(self) -> np.ndarray | None:
        """Returns how often each training image is drawn, [images] in proportion; None for each once an epoch."""
        return None

    @abstractmethod
    def val_dataset(self) -> DrawDataset:
        """Returns the validation samples, without any randomness."""

    def val_files(self) -> list[str]:
        """Returns the path of each validation image, in the order of `val_dataset`; empty where they have no files."""
        images = self.val_dataset()
        return [images.path_of(index) for index in range(len(images))]

    def balance(self) -> Balance | None:
        """Returns how often each class is in both splits; None where there are no classes, or that is not known."""
        return None

    @abstractmethod
    def input_transform(self) -> dict[str, Any]:
        """Returns plain values that rebuild the evaluation transform: they go into checkpoints."""

    @staticmethod
    @abstractmethod
    def collate(samples: Any) -> Any:
        """Joins samples into the task's typed batch."""


@dataclass(kw_only=True, eq=False, repr=False)
class TransferData(RunData):
    """A task's data set, as the commands see it too. Its fields, and those of a subclass, are the flags `--data.*`.

    A subclass is a dataclass of the same kind; it documents its fields under `Args:`, which `--help` shows, and checks
    them in `__post_init__`, where nothing is read yet.

    Args:
        root: folder of the data set.
        synthetic: made data to use where no root is given.
        total_batch_size: images of one optimizer step, over all devices and accumulated batches.
        device_batch_size: images of one forward pass on one device; null for a device's whole share of the total batch;
            auto for the most that fit this machine, tried on a GPU and predicted on a CPU.
        num_workers: data-loading processes of each training process; null to choose by the cores, by what a sample
            takes to load, and by free memory.

    Attributes:
        published: the spec of the data set the recipes were published on, for when no data is at hand.
        published_counts: its training and validation images; None where that is not known.
        target: what the data say of an image, see `DataSpec.target`.
    """

    published: ClassVar[DataSpec]
    published_counts: ClassVar[tuple[int, int] | None] = None
    target: ClassVar[Target] = "classes"

    root: str | None
    synthetic: str | None = None
    total_batch_size: int
    device_batch_size: int | Literal["auto"] | None = None
    num_workers: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("total_batch_size", self.total_batch_size), ("device_batch_size", self.device_batch_size)):
            if isinstance(value, int) and value < 1:
                raise UserError(f"data.{name}: got {value}, expected 1 or more images")
        check_range("data.num_workers", self.num_workers, "[0, inf)")

    def assumed_spec(self) -> DataSpec:
        """Returns the published spec at the image size asked for; nothing is read."""
        return self.published

    def train_files(self) -> list[str]:
        """Returns the paths of the training images, for `maekit data stats`; only the listing is read.

        Raises:
            UserError: these data have no statistics of their own.
        """
        raise UserError(
            "statistics of these data are not measured; leave out --task to measure all images below --root"
        )

    def image_labels(self) -> dict[str, Any]:
        """Returns what is known of each image of both splits by its absolute path; only the listings are read.

        A class or a grade is its number, other targets are rows of `Listing.labels`.

        Raises:
            UserError: these data say no one thing of an image.
        """
        raise UserError(
            "got a task whose data have no label of a whole image, expected one that learns a class, labels, values or "
            "a grade of each; name another with --task"
        )

    def pixel_labels(self) -> PixelLabels:
        """Returns the label maps of both splits; only the listings are read.

        Raises:
            UserError: these data have no label maps.
        """
        raise UserError(
            "got features of patches and a task whose data have no label maps, expected one of segmentation; name "
            "another with --task, or embed with --pooling class"
        )

    @abstractmethod
    def plain_train_dataset(self) -> DrawDataset:
        """Returns the training samples through the evaluation transform, without any randomness."""

    def probe_datasets(self) -> tuple[Any, Any] | None:
        """Returns labelled images, to train and to judge a probe of frozen features on, where a run is to have one."""
        return None

    @classmethod
    @abstractmethod
    def make(cls, root: Path) -> str:
        """Writes a small data set of real images in the true on-disk format into a new folder; returns one line."""

    @abstractmethod
    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies the data set that a run with these settings would read, through the code that the run reads it with.

        Args:
            classes: number of classes of the head that is to be used; None where it is sized from the data.
            full: decode every file.
        """


# NumPy's own generator is put aside and a second one lent: copying its state to and fro takes 120 us a sample.
_SAMPLE_GENERATOR = np.random.MT19937(0)


@contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Gives `random`, NumPy and torch's CPU generator the state of one sample, and then their former states back.

    Not to be nested, nor used in threads: the generators belong to the process.

    Args:
        seed: the run's seed, 0 or more.
        epoch: counted from 0.
        index: the sample's place in its listing, 0 or more.
    """
    before = random.getstate(), get_bit_generator(), torch.get_rng_state()
    digest = blake2b(b"%d/%d/%d" % (seed, epoch, index), digest_size=28).digest()
    random.seed(int.from_bytes(digest[:16], "little"))
    set_bit_generator(_SAMPLE_GENERATOR)
    np.random.seed(int.from_bytes(digest[16:20], "little"))
    torch.default_generator.manual_seed(int.from_bytes(digest[20:], "little"))
    try:
        yield
    finally:
        random.setstate(before[0])
        set_bit_generator(before[1])
        torch.set_rng_state(before[2])
