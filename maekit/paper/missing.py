"""The commands that would fill the empty cells: new runs, and unfinished runs to resume."""

import itertools
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.paper.fill import Filled
from maekit.paper.match import cell_differences, is_of
from maekit.paper.tables import Cell
from maekit.recipes.flag_value import flag_value
from maekit.runs.data import is_made
from maekit.runs.folder import LOCK
from maekit.runs.lock import holder
from maekit.runs.read import Run

LIVE_MINUTES = 15.0  # a run saves itself every ten, so one whose folder is quiet for longer has ended


@dataclass(frozen=True)
class Missing:
    """A missing run.

    Attributes:
        words: the command, one element an argument.
        cells: names of the cells that it fills.
        goes_on: the folder of the unfinished run that the command resumes, if there is one.
        live: that run may still be running.
    """

    words: tuple[str, ...]
    cells: tuple[str, ...]
    goes_on: Path | None = None
    live: bool = False

    @property
    def command(self) -> str:
        """The command quoted for the shell, which expands variables such as `$IN1K`."""
        return " ".join(word if word.startswith("$") else shlex.quote(word) for word in self.words)


def missing_runs(filled: Sequence[Filled], runs: Sequence[Run], *, seeds: int, flags: Sequence[str]) -> list[Missing]:
    """The runs that are missing until each cell has `seeds` seeds at its recipe's own settings.

    Args:
        filled: the cells.
        runs: all runs that were found.
        seeds: how many seeds a training's cell should have.
        flags: flags that are passed on; they take precedence over the cell's own.
    """
    found: dict[tuple[str, ...], Missing] = {}
    for place in filled:
        cell = place.cell
        have = {one.key for group in place.groups if not group.differs for one in group.samples}
        wanted = [] if cell.ours.evaluation and have else [None] if cell.ours.evaluation else _new(have, seeds)
        for seed in wanted:
            one = _missing(cell, runs, seed, flags)
            cells = (*(found[one.words].cells if one.words in found else ()), f"{_title(cell)}: {cell.name}")
            found[one.words] = Missing(one.words, tuple(dict.fromkeys(cells)), one.goes_on, one.live)
    return list(found.values())


def _new(have: set[str], seeds: int) -> list[int | None]:
    """The lowest seeds that no run has yet."""
    free = (seed for seed in range(seeds + len(have)) if str(seed) not in have)
    return [next(free) for _ in range(seeds - len(have))]


def _missing(cell: Cell, runs: Sequence[Run], seed: int | None, flags: Sequence[str]) -> Missing:
    begun = next((run for run in runs if seed is not None and _begun(run, cell, seed)), None)
    if begun is not None:
        return Missing(
            ("maekit", "fit", "--ckpt_path", str(begun.folder), *flags), (), begun.folder, _is_live(begun.folder)
        )
    ours = cell.ours
    words = ["maekit", "validate" if ours.evaluation else "fit", "--task", ours.task, "--recipe", ours.recipes[0]]
    pairs = {**_pairs(ours.flags), "--model.weights": ours.start}
    if ours.start == "none":
        del pairs["--model.weights"]
    if seed:
        pairs["--run.seed"] = str(seed)
    own = {flag.split("=")[0] for flag in flags if flag.startswith("--")}
    words += [word for pair in pairs.items() if pair[0] not in own for word in pair]
    if ours.evaluation:
        base = Path(flag_value(flags, "--run.folder") or "runs") / "validated"
        words += ["--output", _free(base / f"{ours.task}-{ours.recipes[0]}")]
    return Missing((*words, *flags), ())


def _begun(run: Run, cell: Cell, seed: int) -> bool:
    """Whether a run of a cell, at its recipe's own settings, is unfinished and can be resumed; not one of a study."""
    if run.status not in ("paused", "stopped", "unfinished") or run.seed != seed or not is_of(run, cell):
        return False
    kept = (run.folder / "last.ckpt").is_file() and not _of_study(run.folder)
    return kept and not is_made(run.flat_config) and not cell_differences(run, cell)


def _of_study(folder: Path) -> bool:
    """Whether a run is one of a study: `<study>/runs/<task>/<recipe>/<run>`."""
    return any((above / "study.json").is_file() for above in folder.absolute().parents[:4])


def _free(base: Path) -> str:
    """The first free number in a folder of evaluations, so that none is overwritten."""
    return str(next(base / str(number) for number in itertools.count() if not (base / str(number)).exists()))


def _is_live(folder: Path) -> bool:
    """Whether a process holds the run's lock; without a lock, whether its folder changed within `LIVE_MINUTES`."""
    if (folder / LOCK).exists():
        return holder(folder) is not None
    newest = max((file.stat().st_mtime for file in folder.iterdir()), default=0.0)
    return time.time() - newest < 60 * LIVE_MINUTES


def _pairs(flags: Sequence[str]) -> dict[str, str]:
    return dict(zip(flags[::2], flags[1::2], strict=True))


def _title(cell: Cell) -> str:
    return f"Table {cell.table}" if cell.table.isdigit() else cell.table.replace("fig", "Figure ")
