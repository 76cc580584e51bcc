"""Which class is taken for which, which is never predicted, and what a detector misses or invents."""

from typing import NamedTuple

from maekit.report import limits
from maekit.report.document import Finding
from maekit.runs.read import Run
from maekit.system.numbers import number
from maekit.system.plain import JSON, finite_number

CLASSES = "Classes"


class Counts(NamedTuple):
    """A confusion: `rows[true][predicted]`; of a detector the last class is the background."""

    names: list[str]
    rows: list[list[float]]
    unit: str
    is_detector: bool

    @property
    def num_classes(self) -> int:
        """Without the background."""
        return len(self.names) - self.is_detector


def mistakes(run: Run) -> list[Finding] | None:
    """The most frequent confusions; None where no confusion of all classes is kept."""
    found = counts_of(run)
    if found is None:
        return None
    if not any(_counts_enough(found, sum(row)) for row in found.rows[: found.num_classes]):
        return None
    for known in (_collapsed(found), _boxless(run, found)):
        if known is not None:
            return [known]
    return [*_taken(found), *_never(found), *(_missed(found) if found.is_detector else [])]


def _collapsed(found: Counts) -> Finding | None:
    """Whether nearly all images are predicted as one class of several that they have."""
    total, most = sum(map(sum, found.rows)), max(sum(row) for row in found.rows)
    predicted = [sum(row[at] for row in found.rows) for at in range(len(found.names))]
    count = max(predicted)
    if found.is_detector or count < limits.COLLAPSED * total or most >= limits.COLLAPSED * total:
        return None
    name = found.names[predicted.index(count)]
    words = f"{int(count):,} of {int(total):,} {found.unit} are predicted as {name}: it tells no classes apart."
    return Finding(
        f"{words} The learning rate may be too high or too low (maekit lr-find), or the labels mixed up.", CLASSES
    )


def _boxless(run: Run, found: Counts) -> Finding | None:
    """Whether a detector has no box of the score from which the confusion counts them."""
    if not found.is_detector or any(sum(row[:-1]) for row in found.rows):
        return None
    score = finite_number(run.confusion.get("min_score"))
    words = f"No box has a score of {number(score)} or more" if score is not None else "No box is counted"
    return Finding(
        f"{words}, so all objects count as missed here: train longer, or predict with a lower --score; the table of "
        "best F1 has one for each class.",
        CLASSES,
    )


def _taken(found: Counts) -> list[Finding]:
    pairs = []
    for true in range(found.num_classes):
        total = sum(found.rows[true])
        for predicted in range(found.num_classes):
            count = found.rows[true][predicted]
            if predicted != true and _counts_enough(found, total) and count >= limits.TAKEN * total:
                pairs.append((count / total, count, total, found.names[true], found.names[predicted]))
    worst = sorted(pairs, reverse=True)[: limits.MOST]
    return [
        Finding(f"{true} is taken for {predicted} in {_amount(found, count, total)}.", CLASSES)
        for _, count, total, true, predicted in worst
    ]


def _never(found: Counts) -> list[Finding]:
    names = [
        found.names[at]
        for at in range(found.num_classes)
        if _counts_enough(found, sum(found.rows[at])) and not any(row[at] for row in found.rows)
    ]
    if not names:
        return []
    more = f" and {len(names) - limits.MOST} more" if len(names) > limits.MOST else ""
    score = " with a score from which boxes are counted" if found.is_detector else ""
    return [Finding(f"Never predicted{score}: {', '.join(names[: limits.MOST])}{more}.", CLASSES)]


def _missed(found: Counts) -> list[Finding]:
    background = len(found.names) - 1
    rows = [(found.rows[at][background], sum(found.rows[at]), found.names[at]) for at in range(background)]
    missed = [
        (count / total, count, total, name)
        for count, total, name in rows
        if total >= limits.SMALL_CLASS and count >= limits.MISSED * total
    ]
    findings = [
        Finding(f"{name} is missed in {_amount(found, count, total)}.", CLASSES)
        for _, count, total, name in sorted(missed, reverse=True)[: limits.MOST]
    ]
    objects, spurious = sum(total for _, total, _ in rows), sum(found.rows[background][:background])
    if objects and spurious >= limits.SPURIOUS * objects:
        findings.append(
            Finding(
                f"{int(spurious):,} boxes are where there is no object, beside {int(objects):,} objects: predict with "
                "a higher --score; the table of best F1 has one for each class.",
                CLASSES,
            )
        )
    return findings


def _counts_enough(found: Counts, total: float) -> bool:
    """Whether a class is frequent enough for a sentence; of pixels everything that is there is."""
    return total > 0 if found.unit == "pixels" else total >= limits.SMALL_CLASS


def _amount(found: Counts, count: float, total: float) -> str:
    if found.unit == "pixels":
        return f"{number(round(100 * count / total, 1))} % of its pixels"
    return f"{int(count):,} of {int(total):,} {found.unit}"


def counts_of(run: Run) -> Counts | None:
    """Returns the confusion of a run's classes; None where none of all classes is kept."""
    names, counts = run.confusion.get("classes"), run.confusion.get("counts")
    if not isinstance(names, list) or not isinstance(counts, list) or len(counts) != len(names) or not names:
        return None
    rows = [_numbers(row) for row in counts]
    if any(row is None or len(row) != len(names) for row in rows):
        return None
    whole = [row for row in rows if row is not None]
    unit = str(run.confusion.get("unit", "images"))
    return Counts([str(name) for name in names], whole, unit, "min_score" in run.confusion)


def _numbers(row: JSON) -> list[float] | None:
    values = [finite_number(value) for value in row] if isinstance(row, list) else [None]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None
