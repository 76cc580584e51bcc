"""What is shown of a model: the score of an image."""

from typing import NamedTuple


class Judged(NamedTuple):
    """What a model makes of one image.

    Attributes:
        score: by the task's `example_score`; an image whose score is not finite is no example.
        caption: a line that says it in words.
    """

    score: float
    caption: str
