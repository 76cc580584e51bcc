"""Which runs and checkpoints `maekit runs prune` removes."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from maekit.runs.data import data_key
from maekit.runs.listing.rows import RunRow


class Pruned(NamedTuple):
    """What goes and what stays.

    Attributes:
        runs: whole runs to remove: finished, and not among the best of their task, recipe and data.
        checkpoints: finished runs of which last.ckpt goes; best.ckpt stays.
        kept: runs that stay whole.
        unranked: of those, finished ones that have no value to rank them by.
    """

    runs: list[RunRow]
    checkpoints: list[RunRow]
    kept: list[RunRow]
    unranked: list[RunRow]


def pruned(rows: Sequence[RunRow], keep_best: int | None, *, checkpoints: bool) -> Pruned:
    """Divides runs; those of studies and those that did not finish always stay.

    Args:
        rows: the runs.
        keep_best: finished runs to keep of each task, recipe and data set, by their best value; None removes no run.
        checkpoints: whether last.ckpt of the finished runs that are kept goes.
    """
    finished = [row for row in rows if row.study is None and row.state.word == "finished"]
    unranked = [row for row in finished if row.best.value is None]
    gone = [] if keep_best is None else _beyond(keep_best, [row for row in finished if row.best.value is not None])
    names = {row.folder for row in gone}
    stays = [row for row in finished if row.folder not in names]
    lighter = [row for row in stays if checkpoints and _has_both(row)]
    lighter_names = {row.folder for row in lighter}
    kept = [row for row in rows if row.folder not in names | lighter_names]
    return Pruned(gone, lighter, kept, unranked if keep_best is not None else [])


def _beyond(keep: int, rows: Sequence[RunRow]) -> list[RunRow]:
    """The runs after the best so many of their group; of equal values the newer run is the better one."""
    groups: dict[Hashable, list[RunRow]] = {}
    for row in rows:
        groups.setdefault((row.task, row.run.recipe, row.best.metric, data_key(row.run)), []).append(row)
    return [row for group in groups.values() for row in sorted(group, key=_rank)[keep:]]


def _rank(row: RunRow) -> tuple[float, float]:
    value = row.best.value or 0.0
    return (-value if row.mode == "max" else value), -row.written


def _has_both(row: RunRow) -> bool:
    return all((row.folder / name).is_file() for name in ("last.ckpt", "best.ckpt"))
