"""How a run gets its folder, locks it, and removes it again when the run was refused before its first step."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maekit.errors import UserError
from maekit.runs.folder import FOLDER, LOCK, new_folder, shown
from maekit.runs.lock import only_writer
from maekit.runs.read import Run
from maekit.system.rank import rank


@contextmanager
def begun(runs: Path, task: str, recipe: str, name: str | None) -> Iterator[Path]:
    """A new run's folder, locked while the block runs; removed if the block fails before anything was saved.

    Yields:
        The folder; on ranks of other machines a path at which they write nothing.
    """
    if rank() > 0:
        yield Path(os.environ.get(FOLDER, runs / "rank"))
        return
    base = (runs / task / recipe).resolve()
    there = [path for path in (base / (name or "0"), base, *base.parents) if path.exists()]
    folder = new_folder(runs, task, recipe, name)
    locked = (folder / LOCK).exists()  # a study has made the folder, with the lock
    try:
        with only_writer(folder):
            try:
                yield folder
            except BaseException:
                if not saved(folder):
                    _discard(folder, keep_lock=locked)
                raise
    finally:
        os.environ.pop(FOLDER, None)
        _remove_empty(folder, there)


@contextmanager
def resumed(folder: Path) -> Iterator[Path]:
    """Locks the folder of a run that is resumed, while the block runs."""
    if rank() > 0:
        yield folder
        return
    with only_writer(folder):
        os.environ[FOLDER] = str(folder)
        try:
            yield folder
        finally:
            os.environ.pop(FOLDER, None)


def saved(folder: Path) -> bool:
    """Whether a run has a checkpoint, has made a step, or has kept the step by which it failed."""
    return any((folder / name).exists() for name in ("last.ckpt", "best.ckpt", "train.csv", "nan_step.pt"))


def _discard(folder: Path, *, keep_lock: bool) -> None:
    """Removes what a run wrote that failed before its first step."""
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK or not keep_lock:
            with suppress(OSError):
                path.unlink()


def _remove_empty(folder: Path, there: list[Path]) -> None:
    """Removes a folder, and those above it that were made for it, as far as they are empty."""
    for path in (folder, *folder.parents):
        if path in there:
            return
        try:
            path.rmdir()
        except OSError:
            return


def finished_step(folder: Path) -> int | None:
    """The step at which a run finished; None where it has not finished, or has been trained on since."""
    run = Run(folder)
    step = run.number("step")
    return int(step) if run.status == "finished" and step is not None else None


def is_finished(folder: Path, step: int, total: int, patience: int | None = None, *, extend: bool) -> bool:
    """Whether there is nothing left to train in a run.

    Args:
        folder: the run's.
        step: of its last.ckpt.
        total: optimizer steps of the whole run, by the present settings.
        patience: validations without improvement after which it ends, by the present settings; None for no such end.
        extend: whether a finished run may be trained on.

    Raises:
        UserError: it is finished and the settings ask for more steps or patience without `--run.extend`; or it is
            beyond the end that the settings give.
    """
    finished = finished_step(folder) == step
    early = Run(folder).early_stop if finished else None
    asks = total > step and (not early or patience is None or patience > early.validations)
    if finished and early and asks and not extend:
        raise UserError(
            f"{shown(folder)} ended early at step {step}: {early.words()}, and these settings have "
            f"run.patience {patience or 'null'}; add --run.extend true to train it on, or leave --ckpt_path out to "
            "start a new run"
        )
    if finished and asks and not extend:
        raise UserError(
            f"{shown(folder)} finished at step {step}, and these settings train to step {total}; add --run.extend true "
            "to train it on, or leave --ckpt_path out to start a new run"
        )
    if not finished and step > total:
        raise UserError(
            f"{shown(folder)} is at step {step}, and these settings end at step {total}; give a later end with "
            "--trainer.max_epochs or --trainer.max_steps"
        )
    return finished and not asks
