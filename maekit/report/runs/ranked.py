"""Runs by task and data set, the best settings first: results on different data are not ranked."""

from collections.abc import Iterator, Sequence

from maekit.report.runs.side_by_side import Group, watched
from maekit.runs.data import data_sets, joined_key
from maekit.runs.read import Run


def comparable(runs: Sequence[Run], tasks: Sequence[str]) -> Iterator[tuple[str, list[Run]]]:
    """The runs of each task and data set, folds of the same images as one: results on different data are not ranked."""
    for task in tasks:
        of_task = [run for run in runs if run.task == task]
        sets = data_sets(of_task, joined_key)
        for one in dict.fromkeys(sets):
            yield task, [run for run, own in zip(of_task, sets, strict=True) if own == one]


def ranked(found: Sequence[Group]) -> list[Group]:
    """The best mean first, then those of which a fold is missing, since folds differ; those without any result last."""
    known = [(group.mean, group) for group in found if group.mean is not None]
    monitor = watched(known[0][1].runs[0]) if known else None
    more = monitor is None or monitor[1] == "max"
    known.sort(key=lambda pair: pair[0], reverse=more)
    ranked = [group for _, group in sorted(known, key=lambda pair: bool(pair[1].missing))]
    return [*ranked, *(group for group in found if group.mean is None)]
