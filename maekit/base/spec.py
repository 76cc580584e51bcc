"""What a model must know of its data, and how one sample is asked for. No torch here."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Target = Literal["classes", "values", "none"]


@dataclass(frozen=True)
class DataSpec:
    """Facts a data set has and a model is built from.

    Attributes:
        class_names: one name a class, in label order, for people to read; empty where the target is no classes.
        image_size: height and width in pixels of what the model is given.
        class_ids: what tells two data sets' classes apart, in label order: folder names. ImageNet's names differ with
            the files beside it (`n01440764` or `tench, Tinca tinca`), its ids do not. Empty: the names themselves.
        palette: a colour (red, green, blue; 0..255) a class, where predictions are painted. Empty: none is given.
        mean: of the three channels, in 0..1, by which images are normalised. Empty: not known.
        std: of the three channels, likewise.
        target: what the data say of an image, and a head predicts: `classes` (of the image, its pixels or its objects),
            `values` (numbers, whose names are `value_names`), or `none`.
        value_names: one name a value, where the target is values.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    class_ids: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    target: Target = "classes"
    value_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses names of what the target is not: data without classes have no name of one."""
        named = {"classes": self.class_names, "values": self.value_names}
        wrong = [kind for kind, names in named.items() if names and kind != self.target]
        if wrong:
            raise ValueError(
                f"got names of {wrong[0]} {named[wrong[0]][:3]}, expected none: the target is {self.target}"
            )

    def ids(self) -> tuple[str, ...]:
        """Returns the ids by which classes are compared, one a class."""
        return self.class_ids or self.class_names


class Draw(NamedTuple):
    """One sample as a sampler asks for it: augmentation depends on (seed, epoch, index) and on nothing else.

    An index of -1 is padding: it evens out the ranks of a distributed evaluation, and no metric counts it.
    """

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index
