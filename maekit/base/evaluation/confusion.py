"""`confusion.json` of pixels and of objects: which classes were taken for which."""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

WHOLE_MATRIX, MOST_PAIRS = 100, 100  # classes of a matrix that is kept whole; pairs that are kept of a larger one
BACKGROUND = "background"


class Pair(TypedDict):
    """How much of class number `true` was taken for class number `predicted`."""

    true: int
    predicted: int
    count: int


class Confused(TypedDict):
    """The content of `confusion.json`: `counts` [true][predicted], or the most frequent mistakes as `pairs`.

    With `min_score` the last class is the background: its column counts objects that were missed, its row boxes from
    that score on where there is no object.
    """

    classes: list[str]
    unit: Literal["pixels", "objects"]
    counts: NotRequired[list[list[int]]]
    pairs: NotRequired[list[Pair]]
    min_score: NotRequired[float]


def confused(names: Sequence[str], counts: list[list[int]], unit: Literal["pixels", "objects"]) -> Confused:
    """Returns the whole matrix of up to 100 classes, else the 100 most frequent mistakes.

    Args:
        names: one a class, in label order.
        counts: [C][C] by true and predicted class.
        unit: what is counted.
    """
    if len(names) <= WHOLE_MATRIX:
        return {"classes": list(names), "unit": unit, "counts": counts}
    cells = ((true, predicted, count) for true, row in enumerate(counts) for predicted, count in enumerate(row))
    wrong = sorted((cell for cell in cells if cell[0] != cell[1] and cell[2]), key=lambda cell: (-cell[2], cell))
    pairs: list[Pair] = [{"true": t, "predicted": p, "count": count} for t, p, count in wrong[:MOST_PAIRS]]
    return {"classes": list(names), "unit": unit, "pairs": pairs}
