"""What weights can be used for: one purpose of a family, and helpers to judge a file by."""

from collections.abc import Callable
from dataclasses import dataclass

from maekit.weights.families.facts import Facts
from maekit.weights.read.shorten import some

OVERLAYS = ("base", "large", "huge", "smoke")  # the sizes that recipes come in
BROKEN = "NaN or infinite values in"


@dataclass(frozen=True)
class Use:
    """One thing to do with weights: whether it can be done, and how, or why not."""

    possible: bool
    how: str


@dataclass(frozen=True)
class Purpose:
    """One purpose that files of weights can serve.

    Attributes:
        rank: where it stands among all purposes in a listing.
        name: its key in JSON.
        words: the same for people.
        judge: says of a file with a whole, plain encoder whether it serves.
    """

    rank: int
    name: str
    words: str
    judge: Callable[[Facts], Use]


def problem_in(facts: Facts, *starts: str) -> str:
    """Says what is missing or broken among the tensors whose names begin so; empty where nothing is."""
    if lacking := [name for name in facts.missing if name.startswith(starts)]:
        return f"it lacks {some(lacking, 4)}"
    if other := [name for name in facts.misshapen if name.startswith(starts)]:
        return f"it has {some(other, 4)} in another shape or type than a ViT of its size"
    if broken := [name for name in facts.not_finite if name.startswith(starts)]:
        return f"it has {BROKEN} {some(broken, 4)}"
    return ""


def size_flags(name: str) -> str:
    """The flags that choose a known size by its name."""
    overlay = name.split("_")[1]
    return f"{f'--recipe {overlay} or ' if overlay in OVERLAYS else ''}--model.backbone {name}"
