"""Finds what is wrong with label maps under the coding they are read by."""

from typing import NamedTuple

from maekit.segmentation.data.labels.coding import IGNORED, Coding
from maekit.segmentation.data.labels.decision import ALLOW, ZERO, fits, separate_values, some
from maekit.segmentation.data.labels.evidence import Evidence, differing_palettes
from maekit.segmentation.data.labels.read import wrong_value


class Verdict(NamedTuple):
    """The result of `judge`, one line each.

    Attributes:
        problems: what forbids a training.
        notes: what a user should know, but does not forbid it.
    """

    problems: list[str]
    notes: list[str]


def judge(coding: Coding, names: tuple[str, ...], train: Evidence, val: Evidence, *, allow_empty: bool) -> Verdict:
    """Looks for values that are not a class, label maps without a counted pixel, and classes that never occur.

    Args:
        coding: by which the label maps are read.
        names: one a class, in label order.
        train: content of the training label maps.
        val: content of the validation label maps.
        allow_empty: whether training is allowed with classes without a pixel and label maps without a counted one.
    """
    problems, notes = wrong_values(coding, train) + wrong_values(coding, val), list[str]()
    palettes = differing_palettes([*train.looks, *val.looks])
    problems += [palettes] if palettes else []
    gaps = [] if problems else _gaps(coding, names, train)
    if allow_empty:
        notes += [line for line, _ in gaps]
    else:
        problems += [f"{line}; {advice}" for line, advice in gaps]
    if val.looks and not _counted(coding, val):
        problems.append(f"validation: no pixel counts in {val.describe()}; {_mend(coding, val)}")
    elif not problems and not allow_empty and val.values() == {0, IGNORED} and IGNORED not in train.values():
        hold = f"{val.describe()} in {val.folder} hold 0 and {IGNORED} alone, those for training no {IGNORED}"
        problems.append(f"{hold}; save the classes with the same numbers in both, or add {ALLOW}")
    elif not problems:
        notes += absent("validation", coding, names, val)
    return Verdict(problems, notes)


def contradiction(coding: Coding, names: tuple[str, ...], train: Evidence) -> str | None:
    """Returns a line if the training label maps do not fit this coding, but one with classes from 0 or from 1."""
    others = [Coding(len(names), reduce) for reduce in (False, True)]
    if fits(train, coding) or not any(fits(train, other) for other in others):
        return None
    verdict = judge(coding, names, train, train._replace(looks=[]), allow_empty=False)
    return next(iter(verdict.problems), None)


def wrong_values(coding: Coding, evidence: Evidence) -> list[str]:
    """Returns a line for each value that is neither a class nor ignored, with the first file that has it."""
    wrong = sorted(evidence.values() - {*coding.classes, *coding.uncounted})
    paths = [(value, evidence.maps_with(value)) for value in wrong]
    return [wrong_value(found[0], value, coding, len(found) - 1) for value, found in paths]


def absent(split: str, coding: Coding, names: tuple[str, ...], evidence: Evidence) -> list[str]:
    """Returns a line for the classes that occur in no label map, if all label maps of the split were read."""
    found = evidence.values()
    lacking = [names[label] for label, value in enumerate(coding.classes) if value not in found]
    if not lacking or not evidence.whole:
        return []
    return [f"{split}: no pixel of {some(lacking)} in its {len(evidence.looks):,} label maps"]


def _gaps(coding: Coding, names: tuple[str, ...], train: Evidence) -> list[tuple[str, str]]:
    """Returns lines for label maps and classes without a counted pixel, each with the advice for its error."""
    if not _counted(coding, train):
        return [(f"training: no pixel counts in {train.describe()}", _mend(coding, train))]
    blank = [look.path for look in train.looks if coding.uncounted.issuperset(look.pixels)]
    more = f" (and {len(blank) - 1:,} more such files)" if blank[1:] else ""
    advice = f"remove it with its image, or add {ALLOW}"
    lines = [(f"{path}: no pixel of it counts{more}", advice) for path in blank[:1]]
    return lines + [(line, _mend(coding, train)) for line in absent("training", coding, names, train)]


def _counted(coding: Coding, evidence: Evidence) -> bool:
    return bool(evidence.values() - coding.uncounted)


def _mend(coding: Coding, evidence: Evidence) -> str:
    """Returns the flag under which every class would occur, or other advice."""
    for reduce in (False, True):
        if fits(evidence, Coding(coding.num_classes, reduce)):
            return f"every class occurs with {ZERO} {str(reduce).lower()}"
    values = separate_values(evidence, coding.num_classes)
    if not values and not _counted(coding, evidence):
        ignored = " and ".join(map(str, sorted(coding.uncounted)))
        return f"pixels of {ignored} do not count: give the classes other numbers"
    return values or f"name only the classes that occur, or add {ALLOW}"
