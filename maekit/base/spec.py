"""What a model must know of its data, and how one sample is asked for. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Target = Literal["classes", "labels", "grades", "values", "none"]

RGB = ("R", "G", "B")


@dataclass(frozen=True)
class DataSpec:
    """Facts a data set has and a model is built from.

    Attributes:
        class_names: one name a class, in label order, for people to read; empty where the target is no classes.
        image_size: height and width in pixels of what the model is given.
        class_ids: what tells two data sets' classes apart, in label order: folder names. ImageNet's names differ with
            the files beside it (`n01440764` or `tench, Tinca tinca`), its ids do not. Empty: the names themselves.
        palette: a colour (red, green, blue; 0..255) a class, where predictions are painted. Empty: none is given.
        mean: of each channel, in 0..1, by which images are normalised. Empty: not known.
        std: of each channel, likewise.
        target: what the data say of an image, and a head predicts: `classes` (one for the image, each of its pixels or
            each of its objects), `labels` (any number of the classes), `grades` (one of the classes, which have an
            order), `values` (numbers, whose names are `value_names`), or `none`.
        value_names: one name a value, where the target is values.
        value_mean: of each value over the training images, in the unit of the data: a head predicts standardised ones.
        value_std: of each value, likewise, above 0.
        bands: name of each channel in the order the model is given: R, G and B first, in this order, then the others.
        class_counts: how many training images have each class; empty where that is not known.
        train_images: how many training images there are; 0 where that is not known.
        masks: whether objects have shapes, so that a detector learns masks; False where they have boxes alone.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    class_ids: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    target: Target = "classes"
    value_names: tuple[str, ...] = ()
    value_mean: tuple[float, ...] = ()
    value_std: tuple[float, ...] = ()
    bands: tuple[str, ...] = RGB
    class_counts: tuple[int, ...] = ()
    train_images: int = 0
    masks: bool = True

    def __post_init__(self) -> None:
        """Refuses names of what the target is not: data without classes have no name of one."""
        has_classes = self.target in ("classes", "labels", "grades")
        wrong = "values" if self.value_names and self.target != "values" else ""
        wrong = "classes" if self.class_names and not has_classes else wrong
        if wrong:
            names = (self.class_names if wrong == "classes" else self.value_names)[:3]
            raise ValueError(f"got names of {wrong} {names}, expected none: the target is {self.target}")

    @property
    def num_channels(self) -> int:
        """Channels of the images that a model is given."""
        return len(self.bands)

    def ids(self) -> tuple[str, ...]:
        """Returns the ids by which classes are compared, one a class."""
        return self.class_ids or self.class_names


def shown_channels(bands: Sequence[str], shown: Sequence[str] = ()) -> tuple[int, int, int]:
    """Returns the channels that a picture shows as red, green and blue.

    Args:
        bands: name of each channel.
        shown: the names of three, or of one to show in grey; empty: R, G and B, else the first three, or one as grey.
    """
    if shown:
        first, *more = (bands.index(name) for name in shown)
        return (first, more[0], more[1]) if more else (first, first, first)
    if set(RGB) <= set(bands):
        return bands.index("R"), bands.index("G"), bands.index("B")
    return (0, 1, 2) if len(bands) >= len(RGB) else (0, 0, 0)


class Draw(NamedTuple):
    """One sample as a sampler asks for it: augmentation depends on (seed, epoch, index) and on nothing else.

    An index of -1 is padding: it evens out the ranks of a distributed evaluation, and no metric counts it.
    """

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index
