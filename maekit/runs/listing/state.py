"""Whether a run is running, and else how it ended."""

from pathlib import Path
from typing import Literal, NamedTuple

from maekit.runs.checkpoint_path import LAST, resume_command, start_command
from maekit.runs.files import METRICS, NAN_STEP
from maekit.runs.lock import holder, how_it_ended
from maekit.runs.read import Run

Word = Literal["running", "finished", "paused", "stopped", "failed", "killed", "validated"]
STATES: tuple[Word, ...] = ("running", "finished", "paused", "stopped", "failed", "killed", "validated")


_PROGRAMS = ("maekit", "maekit.exe", "__main__.py")  # others use the Python API, and their words are not maekit's


class State(NamedTuple):
    """A run's state, and why or by what process; the reason is empty where the word says all.

    `paused` is by --run.stop_at_step or --trainer.max_time, `stopped` by a signal or a callback, `failed` by an
    error, `killed` without a record of why (kill -9, out of memory, power), and `validated` is an evaluation without
    training.
    """

    word: Word
    reason: str = ""


def state_of(run: Run) -> State:
    """The state of a run, from its lock first and then from what it wrote."""
    process = holder(run.folder)
    if process is not None:
        return State("running", process)
    end = how_it_ended(run.folder)
    if end is not None and not (run.status != "unfinished" and _changed(run.folder / METRICS) >= int(end.since)):
        again = f"; {_again(run)}" if end.how == "killed" else ""
        return State(end.how, end.reason + again)
    if run.status == "unfinished":
        return _without_record(run.folder)
    early = run.early_stop
    by = run.metrics.get("stopped_by")
    return State(run.status, early.words() if early is not None else f"by {by}" if isinstance(by, str) else "")


def _again(run: Run) -> str:
    """What to type after a run was killed, which could not say it itself."""
    program, *words = run.command or [""]
    words = words if Path(program).name in _PROGRAMS else []
    if (run.folder / LAST).is_file():
        return f"go on with: {resume_command(words, run.folder)}"
    again = start_command(words)
    return "it saved no checkpoint, " + (f"start again with: {again}" if again else "start it again")


def _without_record(folder: Path) -> State:
    """The state of a run that wrote no result, of a version that did not record why."""
    if (folder / NAN_STEP).is_file():
        return State("failed", f"its loss was not finite, see {NAN_STEP}")
    if (folder / LAST).is_file():
        return State("stopped", "it has no result; last.ckpt is there to go on from")
    return State("failed", "it ended before it saved a checkpoint")


def _changed(file: Path) -> float:
    """When a file was last written, in seconds since 1970; 0 where it is missing."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
