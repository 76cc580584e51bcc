"""Compares what a file's head predicts (classes, labels, grades, values) with what a model's does."""

from collections.abc import Mapping
from typing import NamedTuple

from maekit.weights.families.fit import ANEW, Fit
from maekit.weights.read.metadata import card_of


class HeadTarget(NamedTuple):
    """What a head predicts.

    Attributes:
        target: as `DataSpec.target`: classes, labels, grades, values or none.
        values: one name a value, where the target is values.
    """

    target: str
    values: tuple[str, ...] = ()


def other_target(fit: Fit, meta: Mapping[str, object], ours: HeadTarget | None) -> list[str]:
    """Returns a line if a head would be loaded that predicts something else; a file that does not say is not asked."""
    card = card_of(meta)
    if ours is None or "target" not in card or not any(name.startswith("head.") for name in fit.shared):
        return []
    values = card.get("value_names")
    theirs = HeadTarget(str(card["target"]), tuple(map(str, values)) if isinstance(values, list | tuple) else ())
    if theirs == ours:
        return []
    return [f"its head predicts {_words(theirs)}, expected {_words(ours)}: start a fresh head with {ANEW}"]


def _words(head: HeadTarget) -> str:
    return f"the values {', '.join(head.values)}" if head.values else head.target
