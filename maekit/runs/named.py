"""The run that a number, a name, or the end of a run's path names: `3`, `smoke/3`, `<task>/smoke/3`."""

import glob
from pathlib import Path

from maekit.errors import UserError, nearest
from maekit.runs.folder import shown
from maekit.runs.read import FILES

CHECKPOINTS = ("last.ckpt", "best.ckpt")
_MOST_LISTED = 6


def holds_run(folder: Path) -> bool:
    """Whether a folder has one of the files by which a run is known, or a checkpoint."""
    return any((folder / name).is_file() for name in (*FILES, *CHECKPOINTS))


def named_run(given: str, runs: Path, task: str | None = None, recipe: str | None = None) -> Path | None:
    """The folder of the run that `given` names; None where no run is named so.

    Args:
        given: a run's number or name, with its recipe and its task before it where the name alone is of several runs.
        runs: the folder of all runs, `<task>/<recipe>/<number or name>`.
        task: only runs of this task are looked at, where `given` says no task; None: of all tasks.
        recipe: only runs of this recipe, likewise.

    Raises:
        UserError: it names several runs; all of them are listed.
    """
    parts = given.split("/")
    if len(parts) > 3 or any(part in ("", ".", "..") for part in parts):
        return None
    above = (task, recipe)[: 3 - len(parts)]
    pattern = "/".join([*(glob.escape(part) if part else "*" for part in above), *map(glob.escape, parts)])
    found = sorted(folder for folder in runs.glob(pattern) if holds_run(folder))
    if len(found) > 1:
        names = [folder.relative_to(runs).as_posix() for folder in found]
        more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
        listed = ", ".join(names[:_MOST_LISTED])
        raise UserError(f"'{given}' names {len(found)} runs under {shown(runs)}: {listed}{more}; give one of these")
    return found[0] if found else None


def existing_run(given: Path, runs: Path = Path("runs")) -> Path:
    """The folder that a path is, or that of the run that it names; a folder that is there takes precedence.

    Raises:
        UserError: there is no such folder and no such run, or several runs are named so.
    """
    path = given.expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise UserError(f"{path} is a file, expected a run's folder or a folder of runs")
    found = named_run(str(given), runs)
    if found is not None:
        return found
    siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    number = "" if path.is_absolute() else f", and no run of that name in {shown(runs)}"
    raise UserError(f"no folder {path}{number}{nearest(path.name, siblings) or runs_there(runs)}")


def runs_there(runs: Path) -> str:
    """Returns `; there are ...` with the ends of the newest runs' paths; empty where there is no run."""
    found = [folder for folder in runs.glob("*/*/[!.]*") if holds_run(folder)]  # `.removed` may be left of a removal
    newest = sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)[:_MOST_LISTED]
    return "; there are " + ", ".join(folder.relative_to(runs).as_posix() for folder in newest) if newest else ""
