"""What a user asks of the results of `maekit predict`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from maekit.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

TOP = 5  # classes that are listed of an image unless the user says how many


class Croppable(Protocol):
    """A picture of which parts are cut: PIL's, or one that is larger than memory."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    def crop(self, box: tuple[int, int, int, int], /) -> "Image":
        """Returns the part within left, top, right and bottom."""


@dataclass(frozen=True)
class PredictOptions:
    """The choices of one `maekit predict`, which every writer of predictions is given.

    Attributes:
        top: how many classes of an image are listed, the best first; None for the task's own number.
        score: the lowest score, 0 to 1, of what is listed and drawn; None for the task's own.
        crops: whether each object becomes a picture of its own.
        pictures: whether pictures for people are written beside the results themselves.
        root: the common parent of all images, below which results mirror their folders; None where it is not known.
        full_picture: reads a file at its full size as people see it, for crops; None crops the sample's picture.

    Raises:
        UserError: a number is out of range.
    """

    top: int | None = None
    score: float | None = None
    crops: bool = False
    pictures: bool = True
    root: Path | None = None
    full_picture: "Callable[[Path], Croppable] | None" = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.top is not None and self.top < 1:
            raise UserError(f"--top: got {self.top}, expected 1 or more classes")
        if self.score is not None and not 0 <= self.score <= 1:
            raise UserError(f"--score: got {self.score:g}, expected 0 to 1")

    def refuse(self, what: str, *flags: str) -> None:
        """Refuses those of `top`, `score` and `crops` that mean nothing for a model.

        Args:
            what: the model predicts, in words.
            flags: names of options.

        Raises:
            UserError: one of them was given.
        """
        given = {"top": self.top is not None, "score": self.score is not None, "crops": self.crops}
        why = {
            "top": "only models of classes list the best of them",
            "score": "only models of classes, labels or objects have scores",
            "crops": "only models of objects have some to crop",
        }
        for flag in flags:
            if given[flag]:
                raise UserError(f"--{flag}: got it for a model of {what}, but {why[flag]}; leave it out")
