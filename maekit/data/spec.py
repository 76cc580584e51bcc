"""What a model must know of its data, and how one sample is asked for. No torch here."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class DataSpec:
    """Facts a data set has and a model is built from.

    Attributes:
        class_names: one name a class, in label order.
        image_size: height and width in pixels of what the model is given.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]


class Draw(NamedTuple):
    """One sample as a sampler asks for it: augmentation depends on (seed, epoch, index) and on nothing else.

    An index of -1 is padding: it evens out the ranks of a distributed evaluation, and no metric counts it.
    """

    epoch: int
    index: int
