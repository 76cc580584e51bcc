"""What a user asks of the results of `maekit predict`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictOptions:
    """The choices of one `maekit predict`, which every writer of predictions is given.

    Attributes:
        top: how many classes of an image are listed, the best first.
        score: the lowest score, 0 to 1, of what is given and drawn; None for the task's own.
        crops: whether each object becomes a picture of its own.
        pictures: whether pictures are written; without them only tables.
    """

    top: int = 5
    score: float | None = None
    crops: bool = False
    pictures: bool = True
