"""The best two of runs on the same data: whether their seeds, or the validation images, tell one from the other."""

import statistics
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from maekit.report import limits
from maekit.report.document import Table, Value
from maekit.report.runs.side_by_side import Group, results, watched
from maekit.report.significance import difference, paired_difference, sign_test
from maekit.runs.read import Run
from maekit.system.numbers import number, plural

_MEANS = ("loss", "psnr")  # metrics that are the mean of the images' own in image_scores.csv
_TASK_MODES = {"max": 1.0, "min": -1.0}


class Compared(NamedTuple):
    """What the numbers say of the best two.

    Attributes:
        words: a sentence.
        numbers: the numbers that it rests on.
        pair: a run of each.
    """

    words: str
    numbers: Table
    pair: tuple[Run, Run]


class _Test(NamedTuple):
    """One way to tell two runs apart: `rows` are a name and both sides' numbers, `how` says how clear it is."""

    lead: float  # of the first one over the second; 0 where it is not clear
    how: str  # with {left} and {right} in place of their names
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""


def compare_groups(first: Group, second: Group, named: Mapping[Path, str], place: str) -> Compared | None:
    """Compares the two best groups of runs on the same data; None where nothing tells how sure their metrics are.

    Args:
        first: the better one by its mean.
        second: the next.
        named: the runs' labels.
        place: what the table is called after.
    """
    one, other = _best_run(first), _best_run(second)
    monitor = watched(one) if one is not None else None
    if one is None or other is None or monitor is None or watched(other) != monitor:
        return None
    name, mode = monitor
    by_seed = _by_seeds(first, second, name, _TASK_MODES[mode])
    test = by_seed or _by_images(one, other, name, _TASK_MODES[mode])
    if test is None:
        return None
    left, right = named[one.folder], named[other.folder]
    if by_seed:
        left, right = (f"the {len(group.values)} runs like {named[group.runs[0].folder]}" for group in (first, second))
    values = " and ".join(number(value) for value in test.rows[0][1:] if isinstance(value, int | float))
    best, worse = (left, right) if test.lead >= 0 else (right, left)
    verb = "are" if by_seed else "is"
    first_words = f"{best} {verb} better than {worse}" if test.lead else f"Cannot tell {left} from {right}"
    words = f"{first_words}: {test.rows[0][0]} {values}; {test.how.format(left=left, right=right)}."
    words = words if by_seed else f"{words} Other seeds may change it by more: repeat both with another --run.seed."
    caption = "The best two beside each other"
    sides = tuple((label, *(row[at] for row in test.rows)) for at, label in ((1, left), (2, right)))
    return Compared(
        f"T{words[1:]}" if words.startswith("the ") else words,
        Table(f"compared_{place}", ("run", *(str(row[0]) for row in test.rows)), sides, caption, test.note),
        (one, other),
    )


def _by_seeds(first: Group, second: Group, name: str, sign: float) -> _Test | None:
    found = difference(_values(first, name), _values(second, name))
    if found is None or found.size < limits.PAIRS:
        return None
    what = "fold" if first.parts else "seed"
    many = plural(found.size, what) + (" of both" if found.paired else " of each at least")
    how = f"difference {number(found.mean)}, 95 % interval {number(found.low)} to {number(found.high)} over {many}"
    rows = (
        (f"{name}, mean", first.mean, second.mean),
        ("standard deviation", first.std, second.std),
        ("runs", len(first.values), len(second.values)),
    )
    note = f"{how[0].upper()}{how[1:]} (Student's t)."
    return _Test(sign * found.mean if found.is_clear else 0.0, how, rows, note)


def _by_images(one: Run, other: Run, name: str, sign: float) -> _Test | None:
    a, b = _value(one, name), _value(other, name)
    if a is None or b is None:
        return None
    head: tuple[Value, ...] = (f"{name} of best.ckpt", a, b)
    pairs = _common_rows(one, other)
    intervals = (one.intervals.get(name), other.intervals.get(name))
    ends: tuple[tuple[Value, ...], ...] = ()
    if intervals[0] is not None and intervals[1] is not None:
        ends = (
            ("95 % low", intervals[0].low, intervals[1].low),
            ("95 % high", intervals[0].high, intervals[1].high),
        )
    right = [(x["label"] == x["predicted"], y["label"] == y["predicted"]) for x, y in pairs if _has_classes(x, y)]
    if pairs and len(right) == len(pairs):
        return _by_right_images(right, (head, *ends), sign * (a - b))
    own = [(x.get(name), y.get(name)) for x, y in pairs] if name in _MEANS else []
    apart = [x - y for x, y in own if isinstance(x, float) and isinstance(y, float)]
    if len(apart) > 1 and len(apart) == len(own):
        found = paired_difference(apart)
        how = (
            f"difference {number(found.mean)}, 95 % interval {number(found.low)} to {number(found.high)} over "
            f"{found.size:,} images of both"
        )
        return _Test(sign * found.mean if found.is_clear else 0.0, how, (head, *ends))
    if intervals[0] is None or intervals[1] is None:
        return None
    apart_by = max(intervals[0].low - intervals[1].high, intervals[1].low - intervals[0].high)
    words = "do not overlap" if apart_by > 0 else "overlap"
    how = f"their 95 % intervals over {intervals[0].images:,} images {words}"
    return _Test(sign * (a - b) if apart_by > 0 else 0.0, how, (head, *ends))


def _by_right_images(right: Sequence[tuple[bool, bool]], rows: tuple[tuple[Value, ...], ...], lead: float) -> _Test:
    """By the images of which one checkpoint says the right class and the other does not."""
    first, second = sum(a and not b for a, b in right), sum(b and not a for a, b in right)
    chance = sign_test(first, second)
    how = (
        f"of {len(right):,} images {first:,} are right in {{left}} alone and {second:,} in {{right}} alone, a split "
        f"that chance gives with a probability of {number(float(f'{chance:.2g}'))}"
        if first + second
        else f"the same of {len(right):,} images are right in both"
    )
    # balanced accuracy and kappa may differ the other way round: then these images say nothing of the metric
    clear = chance < limits.UNLIKELY and (first - second) * lead > 0
    rows = (*rows, ("right where the other is wrong", first, second))
    return _Test(lead if clear else 0.0, how, rows, "McNemar's exact test, of best.ckpt on the same images.")


def _has_classes(*rows: Mapping[str, str | float]) -> bool:
    return all("label" in row and "predicted" in row for row in rows)


def _common_rows(one: Run, other: Run) -> list[tuple[dict[str, str | float], dict[str, str | float]]]:
    """The rows of the same images; none where the two have other images."""
    second = {(row.get("image"), row.get("file")): row for row in other.image_scores}
    pairs = [(row, second.get((row.get("image"), row.get("file")))) for row in one.image_scores]
    found = [(a, b) for a, b in pairs if b is not None]
    return found if len(found) == len(pairs) == len(second) else []


def _values(group: Group, name: str) -> dict[Hashable, float]:
    """The metric by seed, or by fold as the mean over its seeds."""
    found: dict[Hashable, list[float]] = {}
    for run in group.runs:
        value = results(run).get(name)
        if value is not None:
            found.setdefault(run.seed if group.parts is None else str(run.fold), []).append(value)
    return {key: statistics.fmean(values) for key, values in found.items()}


def _best_run(group: Group) -> Run | None:
    """The run with the best value of its best checkpoint."""
    monitor = next((found for run in group.runs if (found := watched(run))), None)
    if monitor is None:
        return None
    known = [(value, run) for run in group.runs if (value := _value(run, monitor[0])) is not None]
    best = min if monitor[1] == "min" else max
    return best(known, key=lambda pair: pair[0])[1] if known else None


def _value(run: Run, name: str) -> float | None:
    """Of best.ckpt, whose intervals and images are kept; of an evaluation what it measured."""
    if not results(run):
        return None
    return run.best.value if run.best.value is not None and run.best.metric == name else run.val.get(name)
