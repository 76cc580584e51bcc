"""The section `Verdict` of several runs: which is best and whether that is sure, and which did not end."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from maekit.report.document import Finding, Section
from maekit.report.rules import Rule, verdict_section
from maekit.report.runs.compared import Compared, compare_groups
from maekit.report.runs.ranked import comparable, ranked
from maekit.report.runs.side_by_side import Group, groups
from maekit.report.words import task_name
from maekit.runs.find import labels
from maekit.runs.folder import shown
from maekit.runs.read import Run
from maekit.system.numbers import plural

_MOST_NAMED = 3


def overview_verdict(runs: Sequence[Run]) -> Section | None:
    """What the runs say together, and the command to type next; None where there is nothing to compare."""
    if told_apart(runs) == [] and not _not_ended(runs):
        return None
    return verdict_section(RULES, runs, _next_commands(runs))


def best_two(runs: Sequence[Run], named: dict[Path, str], place: str = "") -> Compared | None:
    """The best two settings of comparable runs beside each other; None where there are fewer, or nothing tells."""
    first = _with_results(runs)[:2]
    return compare_groups(first[0], first[1], named, place) if len(first) == 2 else None


def told_apart(runs: Sequence[Run]) -> list[Finding] | None:
    """Of each task and data set: whether the best runs are told from the next; None where nothing tells that."""
    named, sets = labels(runs), list(comparable(runs, list(dict.fromkeys(run.task for run in runs))))
    several = [(task, found) for task, found in sets if len(_with_results(found)) > 1]
    compared = [(task, best_two(found, named)) for task, found in several]
    if several and all(found is None for _, found in compared):
        return None
    return [Finding(found.words, task_name(task)) for task, found in compared if found is not None]


def _not_ended(runs: Sequence[Run]) -> list[Finding] | None:
    """The runs that did not come to their end, and are not running now."""
    named = labels(runs)
    cut = [run for run in runs if run.status in ("paused", "unfinished") and not run.is_live]
    few = ", ".join(named[run.folder] for run in cut[:_MOST_NAMED])
    more = f" and {len(cut) - _MOST_NAMED} more" if len(cut) > _MOST_NAMED else ""
    words = (
        f"{plural(len(cut), 'run')} of {len(runs):,} did not come to the end and count for nothing here: {few}{more}."
    )
    return [Finding(words, task_name(cut[0].task))] if cut else []


RULES = (Rule("a best run that is told from the next", told_apart), Rule("runs that did not end", _not_ended))


def _next_commands(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What compares the best two of the first task."""
    named = labels(runs)
    for _, found in comparable(runs, list(dict.fromkeys(run.task for run in runs))):
        pair = best_two(found, named)
        if pair is not None:
            folders = " ".join(shlex.quote(shown(run.folder)) for run in pair.pair)
            return [(f"maekit compare {folders}", "all metrics of both, and the settings in which they differ")]
    return []


def _with_results(runs: Sequence[Run]) -> list[Group]:
    return [group for group in ranked(groups(runs)) if group.mean is not None]
