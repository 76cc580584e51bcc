"""The checkpoint that `--ckpt_path` means, and the command that resumes a run."""

import glob
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from maekit.errors import UserError, nearest
from maekit.runs.files import ENVIRONMENT
from maekit.runs.folder import FOLDER, shown
from maekit.runs.named import named_run, runs_there
from maekit.runs.read import Run
from maekit.system.rank import rank

Purpose = Literal["resume", "read"]
LAST, BEST = "last.ckpt", "best.ckpt"
_TAKES = " (--ckpt_path takes a file, a run's folder or number as `maekit runs` lists them, last or best)"
_REPLACED = ("--ckpt_path", "--run.name")


def find_checkpoint(
    given: str,
    runs: Path,
    task: str | None = None,
    recipe: str | None = None,
    *,
    purpose: Purpose = "read",
    name: str | None = None,
) -> Path:
    """The file that `--ckpt_path` means: a path, a run's folder or number, or `last` / `best` of the newest run.

    A run's folder means its last.ckpt to resume from, and its best.ckpt (else last.ckpt) to read weights from.

    Args:
        given: the flag's value; a number or name as `named_run` takes it, where there is no such path.
        runs: the folder of all runs.
        task: `last`, `best` and numbers look at its runs only; None: at those of all tasks and recipes.
        recipe: `last`, `best` and numbers look at its runs only.
        purpose: to resume the run, or to read its weights.
        name: `last` and `best` look at the run of this name (`--run.name`) only.

    Raises:
        UserError: no such file, no run has one, or the number is that of several runs.
    """
    if given in ("last", "best"):
        return _of_newest(f"{given}.ckpt", runs, task, recipe, name).resolve()
    path = Path(given).expanduser()
    if path.is_dir():
        return _of_folder(path, purpose).resolve()
    if not path.is_file():
        if run := named_run(given, runs, task, recipe):
            return _of_folder(run, purpose).resolve()
        raise UserError(f"no checkpoint {path}{_near(given, path, runs)}{_TAKES}")
    return path.resolve()


def _near(given: str, path: Path, runs: Path) -> str:
    """What may have been meant by a checkpoint that is not there: a file beside it, `last`, or the runs there are."""
    if path.parent.is_dir() and (near := nearest(path.name, [file.name for file in path.parent.glob("*.ckpt")])):
        return near
    folder = next((above for above in path.parents[:3] if above.is_dir()), Path())
    if folder != Path():
        names = sorted((one.name for one in folder.iterdir() if one.is_dir()), key=lambda name: (len(name), name))
        return f"; there are {', '.join(names[:12])} in {shown(folder)}" if names else ""
    return nearest(given, ["last", "best"]) or runs_there(runs)


def run_checkpoint(path: Path) -> Path:
    """The best.ckpt of a run's folder, else its last.ckpt; any other path is returned as it is."""
    if (path / "config.json").is_file():  # a folder of transformers
        return path
    return next((path / name for name in (BEST, LAST) if (path / name).is_file()), path)


def weights_line(path: Path, step: int | None) -> str:
    """`weights runs/t/r/0/best.ckpt (step 33)`: the file that was chosen for a folder, `last` or `best`."""
    return f"weights {shown(path)}" + ("" if step is None else f" (step {step})")


def _of_folder(folder: Path, purpose: Purpose) -> Path:
    file = folder / LAST if purpose == "resume" else run_checkpoint(folder)
    if file.is_file():
        return file
    inside = _newest_first(folder.glob(f"*/{LAST}")) or _newest_first(folder.glob(f"*/*/{LAST}"))
    hint = f"; a run in it is {shown(inside[0].parent)}" if inside else ""
    weights = "; best.ckpt is there, for validate, predict and --model.weights" if (folder / BEST).is_file() else ""
    raise UserError(f"no {LAST} in {folder}{weights}{hint}{_TAKES}")


def _of_newest(file: str, runs: Path, task: str | None, recipe: str | None, name: str | None) -> Path:
    """A file of the run that saved a checkpoint last."""
    pattern = "/".join(glob.escape(part) if part else "[!.]*" for part in (task, recipe, name))
    saved = _newest_first(path for each in (LAST, BEST) for path in runs.glob(f"{pattern}/{each}"))
    if not saved:
        where = runs / (task or "") / (recipe or "")
        whose = f"run '{name}'" if name is not None else "any run"
        raise UserError(f"no {file} in {whose} under {where}; give --ckpt_path FILE, or --run.folder of the run")
    found = saved[0].parent / file
    if not found.is_file():
        newest = "" if name is not None else ", the newest run,"
        raise UserError(f"{shown(found.parent)}{newest} has no {file}; give --ckpt_path FILE, or a run's folder")
    return found


def _newest_first(files: Iterable[Path]) -> list[Path]:
    """Sorts by the time of the last change; at equal times the higher run number comes first."""
    number = {file: int(file.parent.name) if file.parent.name.isdecimal() else -1 for file in files}
    return sorted(number, key=lambda file: (file.stat().st_mtime_ns, number[file]), reverse=True)


def requeued_checkpoint(runs: Path, task: str, recipe: str) -> Path | None:
    """`last.ckpt` of the run that this SLURM job trained before it was requeued; None if it was not requeued."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or int(os.environ.get("SLURM_RESTART_COUNT", "0")) == 0:
        return None
    for file in (runs / task / recipe).glob(f"*/{ENVIRONMENT}"):
        if Run(file.parent).environment.get("slurm_job") == job and (file.parent / LAST).is_file():
            return (file.parent / LAST).resolve()
    return None


def rank_checkpoint() -> Path | None:
    """The checkpoint from which rank 0, which started this process, resumes; `last` may mean another run by now."""
    folder = os.environ.get(FOLDER)
    return Path(folder) / LAST if folder and rank() > 0 else None


def resume_command(words: Sequence[str], folder: Path) -> str:
    """The command that resumes a run, quoted for the shell.

    Args:
        words: the arguments of `maekit`; empty for a run of the Python API, whose checkpoint holds all settings.
        folder: the run's folder, which replaces `--ckpt_path` and `--run.name`.
    """
    return shlex.join(["maekit", *_without(words or ["fit"], _REPLACED), "--ckpt_path", shown(folder)])


def start_command(words: Sequence[str]) -> str:
    """The command that starts a run again from its beginning; empty for one of the Python API."""
    return shlex.join(["maekit", *words]) if words else ""


def _without(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The arguments without some flags and their values."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in flags:
            skip = True
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept
