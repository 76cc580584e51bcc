"""Which cell is best, whether the next one can be told from it, and how the metric goes over a key."""

from collections.abc import Sequence

from maekit.report import limits
from maekit.report.document import Finding
from maekit.report.studies.charts import cell_label, leading_key, metric_name
from maekit.report.studies.verdict.compared import lead, seeds_needed
from maekit.report.studies.verdict.edges import Edge, edge_of, numeric_values
from maekit.study.define.labels import value_label
from maekit.study.define.space import Interval, short_keys
from maekit.study.results import CellResult, cell_results
from maekit.study.saved import Study
from maekit.system.numbers import number, plural
from maekit.system.plain import is_number

CHARTS, RANKING = "What it is worth", "Ranking"


def ended_cells(study: Study) -> list[CellResult]:
    """The cells of which a run came to its end, the best first."""
    return [one for one in cell_results(study) if one.mean is not None]


def best_two(study: Study) -> list[Finding] | None:
    """Whether the best cell is told from the next; None with fewer than two, or with a single run of each."""
    known = ended_cells(study)
    if len(known) < 2:
        return None
    best, second = known[:2]
    found = lead(study, best, second)
    if found.difference is None:
        return None
    assert best.mean is not None
    assert second.mean is not None
    names = f"{cell_label(study, best.values)} from the next, {cell_label(study, second.values)}"
    values = f"{metric_name(study)} {number(best.mean)} and {number(second.mean)}"
    if found.difference.size < limits.PAIRS:
        few = plural(found.difference.size, found.repeat)
        return [Finding(f"Cannot tell {names}: {values}, and {few} of each are too few to know their noise.", RANKING)]
    like = [one for one in known[2:] if not lead(study, best, one).is_clear]
    further = plural(len(like), "further cell")
    if not found.is_clear:
        more = f" Nor can {further} be told from it." if like else ""
        return [Finding(f"Cannot tell {names}: {values}, {found.words()}.{_needed(study, known)}{more}", RANKING)]
    better = cell_label(study, best.values if found.ahead > 0 else second.values)
    overlap = " Folds share training images, so the interval is too narrow." if found.repeat == "fold" else ""
    more = f" {further} cannot be told from it." if like else ""
    words = (
        f"{better} is better than {cell_label(study, second.values)}, the next: {values}, {number(abs(found.ahead))} "
        f"apart, {found.words()}."
    )
    return [Finding(f"{words}{overlap}{more}", RANKING)]


def shape(study: Study) -> list[Finding] | None:
    """Whether the metric over the leading key has a peak or is flat; None without enough values and seeds for that."""
    keys = [axis.key for axis in study.definition.space if len(numeric_values(axis)) >= limits.CURVE]
    key, known = leading_key(keys), ended_cells(study)
    if key is None or study.definition.sampler != "grid" or not known:
        return None
    best = known[0]
    line = sorted(_line(known, best, key), key=lambda one: one.number(key))
    others = [one for one in line if one is not best]
    leads = {id(one): lead(study, best, one) for one in others}
    if len(line) < limits.CURVE or any(not found.words() for found in leads.values()):
        return None
    short, at = short_keys(axis.key for axis in study.definition.space)[key], line.index(best)
    label = [value_label(study.definition.space, key, one.values[key]) for one in line]
    metric = metric_name(study)
    worse = [one for one in others if leads[id(one)].is_clear and leads[id(one)].ahead > 0]
    if not worse:
        values = sorted(one.mean for one in line if one.mean is not None)
        some = leads[id(others[0])]
        assert some.difference is not None
        words = (
            f"{metric} is flat over {short} as far as {plural(some.difference.size, some.repeat)} can tell: between "
            f"{number(values[0])} and {number(values[-1])} from {label[0]} to {label[-1]}, no value told from the best."
        )
        return [Finding(words, CHARTS)]
    falls = [f"{label[line.index(one)]} is {number(leads[id(one)].ahead)} worse" for one in worse]
    if 0 < at < len(line) - 1 and line[0] in worse and line[-1] in worse:
        return [Finding(f"{metric} has a peak over {short} at {label[at]}: {_listed(falls)}.", CHARTS)]
    equal = [label[line.index(one)] for one in others if one not in worse]
    same = f"{_listed(equal)} cannot be told from it, " if equal else ""
    return [Finding(f"Over {short} {label[at]} is best: {same}{_listed(falls)}.", CHARTS)]


def edges(study: Study) -> list[Finding] | None:
    """The keys whose best value is at an end of what was searched; None without a number that is varied."""
    known = ended_cells(study)
    numeric = [axis for axis in study.definition.space if isinstance(axis, Interval) or len(numeric_values(axis)) > 1]
    if not known or not numeric:
        return None
    return [_at_the_edge(study, known, edge) for edge in found_edges(study)]


def found_edges(study: Study) -> list[Edge]:
    """The best cell's values that are at an end of what was searched."""
    known = ended_cells(study)
    if not known:
        return []
    pairs = [(axis, known[0].values.get(axis.key)) for axis in study.definition.space]
    found = [edge_of(axis, value) for axis, value in pairs if is_number(value)]
    return [edge for edge in found if edge is not None]


def _at_the_edge(study: Study, known: Sequence[CellResult], edge: Edge) -> Finding:
    best = known[0]
    short = short_keys(axis.key for axis in study.definition.space)[edge.key]
    value = value_label(study.definition.space, edge.key, best.values[edge.key])
    end = "highest" if edge.upwards else "lowest"
    words = f"The best {short}, {value}, is the {end} that was tried"
    if study.definition.sampler != "grid":
        words = f"The best {short}, {number(edge.value)}, is close to the {end} that could be drawn"
    if edge.wider is None:
        return Finding(f"{words}, and none beyond is possible.", CHARTS)
    inner = [one for one in _line(known, best, edge.key) if one is not best and not lead(study, best, one).is_clear]
    labels = [value_label(study.definition.space, edge.key, one.values[edge.key]) for one in inner]
    doubt = f", though {_listed(labels)} cannot be told from it" if labels else ""
    return Finding(f"{words}{doubt}: a better one may lie {'above' if edge.upwards else 'below'}.", CHARTS)


def _line(known: Sequence[CellResult], best: CellResult, key: str) -> list[CellResult]:
    """The cells that differ from the best one in a key alone, and the best one."""
    rest = {name: value for name, value in best.values.items() if name != key}
    return [one for one in known if {name: value for name, value in one.values.items() if name != key} == rest]


def _needed(study: Study, known: Sequence[CellResult]) -> str:
    found = lead(study, known[0], known[1])
    needed = None if found.difference is None or found.repeat == "fold" else seeds_needed(found.difference)
    if needed is None or found.difference is None or needed <= found.difference.size:
        return ""
    return f" About {needed:,} seeds of both would show a difference of this size." if needed < 1000 else ""


def _listed(words: Sequence[str]) -> str:
    shown = list(words[: limits.MOST])
    if len(words) > limits.MOST:
        return f"{', '.join(shown)} and {len(words) - limits.MOST} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
