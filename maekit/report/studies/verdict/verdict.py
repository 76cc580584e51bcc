"""The section `Verdict` of a study: each sentence rests on numbers of another section, and names it."""

from collections.abc import Iterator

from maekit.report import limits
from maekit.report.document import Section
from maekit.report.rules import Rule, verdict_section
from maekit.report.studies.verdict.cells import best_two, edges, ended_cells, found_edges, shape
from maekit.report.studies.verdict.commands import study_command
from maekit.report.studies.verdict.compared import lead, seeds_needed
from maekit.report.studies.verdict.runs import failed, num_missing, stopped, too_few
from maekit.study.define.space import Choice, Interval
from maekit.study.saved import Study

RULES = (
    Rule("too few runs", too_few),
    Rule("a best cell that is told from the next", best_two),
    Rule("a flat or peaked curve", shape),
    Rule("a best value at the end of what was searched", edges),
    Rule("failed runs", failed),
    Rule("runs that were stopped", stopped),
)


def study_verdict(study: Study) -> Section | None:
    """What the numbers say, what was looked for in vain, and the commands to type next."""
    return verdict_section(RULES, study, [*_next_commands(study)])


def _next_commands(study: Study) -> Iterator[tuple[str, str]]:
    what = study.definition
    own_database = study.storage.startswith("sqlite") or not study.storage
    if own_database and num_missing(study):
        yield study_command(study), "go on: runs that ended are kept"
        return
    broken = [one for one in study.trials if one["state"] == "failed"]
    if own_database and any("nan" not in str(one.get("reason")).lower() for one in broken):
        yield study_command(study, "--retry_failed"), "try the failed runs again"
    wider = {edge.key: edge.wider for edge in found_edges(study) if edge.wider is not None}
    if wider:
        kinds = {type(axis) for axis in wider.values()}
        if Interval not in kinds or what.sampler != "grid":
            yield study_command(study, name=f"{what.name}_wider", axes=wider), "search beyond the best value"
    yield from _more_seeds(study)


def _more_seeds(study: Study) -> Iterator[tuple[str, str]]:
    """The best two cells again with as many seeds as would tell them apart; none where that needs too many."""
    known = ended_cells(study)
    if len(known) < 2 or study.definition.folds is not None or study.definition.sampler != "grid":
        return
    best, second = known[:2]
    found = lead(study, best, second)
    if found.is_clear:
        return
    needed = limits.FEW_SEEDS if found.difference is None else seeds_needed(found.difference)
    count = len(study.definition.seeds)
    if needed is None or not count < needed <= limits.MOST_SEEDS:
        return
    axes: dict[str, Choice | Interval] = {
        key: Choice(key, (value,) if second.values[key] == value else (value, second.values[key]))
        for key, value in best.values.items()
    }
    seeds = tuple(range(needed))
    yield study_command(study, name=f"{study.definition.name}_seeds", axes=axes, seeds=seeds), "tell the best two apart"
