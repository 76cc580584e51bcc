"""Decides the coding of label maps from their values and the number of class names."""

from typing import NamedTuple

from maekit.errors import UserError
from maekit.segmentation.data.labels.coding import IGNORED, Coding, listed
from maekit.segmentation.data.labels.evidence import Evidence

ZERO = "--data.reduce_zero_label"
VALUES = "--data.label_values"
ALLOW = "--data.allow_empty true"
MAX_ZERO = 0.5  # share of the pixels above which 0 may be a background without a name rather than unlabelled


class Decision(NamedTuple):
    """A coding, and the reason for it; empty where the coding was given."""

    coding: Coding
    why: str = ""


def decide(evidence: Evidence, names: tuple[str, ...]) -> Decision:
    """Decides whether the classes start at 0, or at 1 with 0 unlabelled.

    Each class must occur and each value must be a class, so at most one of the two fits all label maps of a split.

    Args:
        evidence: content of the training label maps.
        names: one a class, in label order.

    Raises:
        UserError: neither fits, or both are possible.
    """
    count, found = len(names), evidence.classes()
    why = f"{evidence.describe()} for training hold {listed(evidence.values())}, and {count} classes are named"
    if not found:
        return Decision(Coding(count, reduce_zero_label=False))  # every pixel is ignored: `judge` reports that
    if found == frozenset(range(count)):
        _refuse_mixed(evidence, names)
        return Decision(Coding(count, reduce_zero_label=False), why)
    mend = separate_values(evidence, count)
    if mend:
        raise UserError(
            f"{evidence.folder}: {why}; expected 0 to {count - 1}, or 1 to {count} where 0 is unlabelled; {mend}"
        )
    if count in found and max(found) == count and min(found) >= 0:
        _refuse_background(evidence, names, why)
        return Decision(Coding(count, reduce_zero_label=True), f"{why}{_zero_share(evidence)}")
    if max(found) > count or min(found) < 0:
        raise UserError(_out_of_range(evidence, count))
    raise UserError(_two_sided(evidence, names, why))


def fits(evidence: Evidence, coding: Coding) -> bool:
    """Returns whether every class occurs, and every value is a class or is not counted."""
    found, classes = evidence.values(), frozenset(coding.classes)
    return classes <= found <= classes | coding.uncounted


def separate_values(evidence: Evidence, count: int) -> str:
    """Returns advice to name the values by a flag, if their number is that of the classes and includes 255; else ''."""
    values = sorted(evidence.values())
    if len(values) != count or any(fits(evidence, Coding(count, reduce)) for reduce in (False, True)):
        return ""
    if values[0] < 0 or values[-1] > 65_535 or (count > 2 and max(evidence.classes(), default=0) <= count):
        return ""
    where = f"{IGNORED} is ignored unless it is said to be a class: " if IGNORED in values else ""
    return f"{where}add {VALUES} [{','.join(map(str, values))}] if these are the classes in the order of their names"


def _refuse_mixed(evidence: Evidence, names: tuple[str, ...]) -> None:
    """Refuses a set where some label maps hold only 0 and 255 and the others no 255: some may be binary masks."""
    marked = [look for look in evidence.looks if IGNORED in look.pixels]
    if marked and all(look.pixels.keys() == {0, IGNORED} for look in marked):
        which = f"{len(marked):,} of {evidence.describe()} hold 0 and {IGNORED} alone (first {marked[0].path})"
        advice = f"if {IGNORED} is a class there, save it as its number; if it is ignored, add {ZERO} false"
        raise UserError(
            f"{evidence.folder}: {which}, the others {listed(range(len(names)))} and no {IGNORED}; {advice}"
        )


def _refuse_background(evidence: Evidence, names: tuple[str, ...], why: str) -> None:
    share, also_ignored = evidence.share(0), IGNORED in evidence.values()
    if share > MAX_ZERO or (share > 0 and also_ignored):
        last = evidence.maps_with(len(names))
        found = f"{why} ({len(names)} in {len(last)}, first {last[0]})"
        unnamed = f"0 ({100 * share:.0f} % of the pixels) has no name"
        advice = f"if it is a class such as background, put its name before '{names[0]}'"
        raise UserError(f"{evidence.folder}: {found}, and {unnamed}; {advice}; if it is unlabelled, add {ZERO} true")


def _zero_share(evidence: Evidence) -> str:
    share = evidence.share(0)
    return f"; 0 is {100 * share:.1f} % of the pixels" if share else ""


def _out_of_range(evidence: Evidence, count: int) -> str:
    value = next(value for value in sorted(evidence.classes()) if value > count or value < 0)
    paths = evidence.maps_with(value)
    more = f" (and in {len(paths) - 1} more)" if paths[1:] else ""
    expected = f"expected 0 to {count - 1}, or 1 to {count} where 0 is unlabelled"
    return f"{paths[0]}: label value {value}{more}, {expected}, for {count} classes; name all classes or mend the file"


def _two_sided(evidence: Evidence, names: tuple[str, ...], why: str) -> str:
    absent = [
        [names[label] for label, value in enumerate(coding.classes) if value not in evidence.values()]
        for coding in (Coding(len(names), reduce) for reduce in (False, True))
    ]
    if not evidence.whole:
        both = f"{ZERO} false if 0 is '{names[0]}', or {ZERO} true if 0 is unlabelled and 1 is '{names[0]}'"
        return f"{evidence.folder}: {why}; add {both}"
    either = f"if 0 is '{names[0]}', no pixel is {some(absent[0])}; if 1 is, no pixel is {some(absent[1])}"
    advice = f"name only the classes that occur, or add {ALLOW} and {ZERO} false (or true)"
    return f"{evidence.folder}: {why}: {either}; {advice}"


def some(names: list[str], most: int = 5) -> str:
    """Returns the first names and the number of the others, as text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
