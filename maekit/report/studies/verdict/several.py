"""What several studies say together: which weights are best in each, and which of two studies of one task is better."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from maekit.report import limits
from maekit.report.document import Finding, Section, Table
from maekit.report.rules import Rule, verdict_section
from maekit.report.studies.charts import metric_name
from maekit.report.studies.pretrainings import Standing
from maekit.report.studies.verdict.compared import Lead, lead
from maekit.report.studies.verdict.runs import num_missing
from maekit.runs.data import joined_key, recorded_data
from maekit.runs.read import Run
from maekit.study.results import CellResult
from maekit.study.saved import Study
from maekit.system.numbers import number, plural

SECTION = "Weights by task"


class _Pair(NamedTuple):
    """Two best cells: where they are from, their names, their means, and how far the first is ahead."""

    where: str
    first: str
    second: str
    metric: str
    means: tuple[float, float]
    found: Lead


def studies_verdict(studies: Mapping[str, Study], found: Mapping[str, Sequence[Standing]]) -> Section | None:
    """The sentences on studies by their names, whose weights stand in `found`, the best first."""
    rules: list[Rule[Mapping[str, Study]]] = [Rule("runs that are missing", _unfinished)]
    if between := _between(studies, found):
        rules.insert(0, Rule("a better one of two studies of one task", lambda _: _findings(between)))
    if within := _within(studies, found):
        rules.insert(0, Rule("best weights that are told from the next", lambda _: _findings(within)))
    return verdict_section(rules, studies, [])


def differences(studies: Mapping[str, Study], found: Mapping[str, Sequence[Standing]]) -> Table | None:
    """The numbers on which the sentences rest; None without any pair that has several seeds."""
    rows = []
    for one in (*_within(studies, found), *_between(studies, found)):
        apart = one.found.difference
        if apart is not None:
            low, high = (apart.low, apart.high) if one.found.words() else (None, None)
            rows.append((one.where, one.first, one.second, *one.means, apart.mean, low, high, apart.size))
    if not rows:
        return None
    columns = ("study", "first", "next", "mean of first", "mean of next", "ahead by", "95 % low", "95 % high", "n")
    note = "By their best cells; n seeds or folds of both. Low and high are Student's interval, and empty below 3."
    return Table("differences", columns, tuple(rows), "Whether the best is told from the next", note)


def _within(studies: Mapping[str, Study], found: Mapping[str, Sequence[Standing]]) -> list[_Pair]:
    """The best weights of each study that has several, and the next."""
    pairs = []
    for name, study in studies.items():
        known = [(one.label, one.best) for one in found[name] if one.best is not None and one.best.mean is not None]
        if len(known) > 1:
            pairs.append(_pair(name, study, known[0], known[1]))
    return pairs


def _between(studies: Mapping[str, Study], found: Mapping[str, Sequence[Standing]]) -> list[_Pair]:
    """The best cells of every two studies of one task, metric and data set."""
    best = {name: (name, column[0].best) for name, column in found.items() if column and column[0].best is not None}
    known = {name: pair for name, pair in best.items() if pair[1] is not None and pair[1].mean is not None}
    same = [(a, b) for a, b in combinations(known, 2) if _kind(studies[a]) == _kind(studies[b])]
    return [_pair("both", studies[a], *_ordered(studies[a], known[a], known[b])) for a, b in same[: limits.MOST]]


def _ordered(
    study: Study, one: tuple[str, CellResult | None], other: tuple[str, CellResult | None]
) -> tuple[tuple[str, CellResult], tuple[str, CellResult]]:
    """The two with the better mean first."""
    a, b = one[1], other[1]
    assert a is not None
    assert b is not None
    ahead = lead(study, a, b).ahead >= 0
    return ((one[0], a), (other[0], b)) if ahead else ((other[0], b), (one[0], a))


def _pair(where: str, study: Study, one: tuple[str, CellResult], other: tuple[str, CellResult]) -> _Pair:
    means = one[1].mean, other[1].mean
    assert means[0] is not None
    assert means[1] is not None
    return _Pair(where, one[0], other[0], metric_name(study), (means[0], means[1]), lead(study, one[1], other[1]))


def _kind(study: Study) -> tuple[object, ...]:
    """What two studies must have alike for their metrics to be compared: task, metric, and the data of their runs."""
    folders = [folder for trial in study.trials if trial["state"] == "complete" and (folder := trial.get("folder"))]
    run = Run(study.folder / folders[0]) if folders else None
    key = study.folder if run is None or recorded_data(run) is None else joined_key(run)
    return (study.definition.task, study.definition.metric, study.definition.mode, study.definition.folds, key)


def _findings(pairs: Sequence[_Pair]) -> list[Finding] | None:
    if all(one.found.difference is None for one in pairs):
        return None
    return [_finding(one) for one in pairs if one.found.difference is not None]


def _finding(one: _Pair) -> Finding:
    apart, where = one.found.difference, "" if one.where == "both" else f"{one.where}: "
    assert apart is not None
    cannot = "cannot" if where else "Cannot"
    values = f"best cells {one.metric} {number(one.means[0])} and {number(one.means[1])}"
    if apart.size < limits.PAIRS:
        few = plural(apart.size, one.found.repeat)
        words = f"{cannot} tell {one.first} from {one.second}: {values}, and {few} of each are too few"
    elif not one.found.is_clear:
        words = f"{cannot} tell {one.first} from {one.second}: {values}, {one.found.words()}"
    else:
        better, worse = (one.first, one.second) if apart.mean > 0 else (one.second, one.first)
        words = f"{better} is better than {worse}: {values}, {one.found.words()}"
    return Finding(f"{where}{words}.", SECTION)


def _unfinished(studies: Mapping[str, Study]) -> list[Finding]:
    lacking = {name: num_missing(study) for name, study in studies.items() if num_missing(study)}
    words = "; ".join(f"{name}: {plural(count, 'run')} did not end yet" for name, count in lacking.items())
    return [Finding(f"{words}.", "Where runs are missing")] if lacking else []
