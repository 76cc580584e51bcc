"""What a run prints when it ends: what was saved, and the command that resumes it."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maekit.errors import Interrupted, LostProcessError
from maekit.runs.checkpoint_path import BEST, LAST, resume_command, start_command
from maekit.runs.folder import shown
from maekit.runs.read import Run
from maekit.system.rank import rank

_FILES = (BEST, LAST, "config.yaml", "metrics.json", "train.csv", "val.csv", "tensorboard")


@contextmanager
def says_how_to_resume(folder: Path, words: Sequence[str], step: Callable[[], int | None]) -> Iterator[None]:
    """Adds what was saved, and the command that resumes it, to the message of a signal or a lost process.

    Args:
        folder: the run's folder.
        words: the arguments of `maekit`; empty for a run of the Python API.
        step: returns the checkpoint's step; None where that is the step at which the run stopped.
    """
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(f"{stop}{after_stop(folder, words, step)}", stop.signal_number) from stop
    except LostProcessError as lost:
        elsewhere = f"; what was saved is in {folder} of process 0's machine"  # this one may not see it
        what = elsewhere if rank() > 0 else after_stop(folder, words, step)
        raise LostProcessError(f"{lost}{what}", speaks=lost.speaks) from lost


def after_stop(folder: Path, words: Sequence[str], saved_step: Callable[[], int | None]) -> str:
    """What was saved of a stopped run, and the command that resumes it; arguments as for `says_how_to_resume`."""
    step = saved_step()
    if (folder / LAST).is_file():
        at = "" if step is None else f" at step {step}"
        return f", saved{at}; go on with: {resume_command(words, folder)}"
    again = start_command(words)
    return ", nothing was saved" + (f"; start again with: {again}" if again else "; start it again")


def finished_lines(folder: Path, step: int) -> list[str]:
    """The answer to resuming a finished run whose settings ask for no further step."""
    early = Run(folder).early_stop
    its_last = "its last" if early is None else f"where it ended early: {early.words()}"
    more = "--trainer.max_epochs MORE (or --trainer.max_steps)" if early is None else "--run.patience MORE (or null)"
    place = shlex.quote(shown(folder))
    return [
        f"finished {shown(folder)} is at step {step}, {its_last}; nothing was trained",
        f"        to measure it: maekit validate --ckpt_path {place}",
        f"        to train it on: maekit fit --ckpt_path {place} --run.extend true {more}",
    ]


def written_files(folder: Path) -> str:
    """The names of those main files that a run's folder has."""
    next_best = sorted(file.name for file in folder.glob("step_*.ckpt"))
    names = [*_FILES[:1], *next_best, *_FILES[1:]]
    return ", ".join(f"{name}/" if (folder / name).is_dir() else name for name in names if (folder / name).exists())
