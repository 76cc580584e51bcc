"""Makes `runs/<task>/<recipe>/<number>/`, which is never overwritten, and says where a run ran."""

import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from maekit.errors import UserError
from maekit.system.files import atomic_write_text

FOLDER = "MAEKIT_RUN_FOLDER"
NEXT = ".next_number"  # beside the numbered runs: the number that follows those that `maekit runs rm` removed
LOCK = ".lock"  # held by the process that writes into the folder, see `runs.lock`
PACKAGES = ("maekit", "torch", "torchvision", "lightning", "timm", "torchmetrics", "jsonargparse", "numpy", "pillow")


class GitState(TypedDict):
    """The commit of the current folder, and its changed files as `git status --porcelain` lists them."""

    commit: str
    changed_files: list[str]


class Surroundings(TypedDict):
    """Where and with what a run started, as `environment.json` keeps it."""

    started: str
    command: list[str]
    folder: str
    python: str
    platform: str
    versions: dict[str, str | None]
    devices: str
    git: GitState | None
    slurm_job: str | None


def new_folder(runs: Path, task: str, recipe: str, name: str | None = None) -> Path:
    """Makes the next numbered folder, or that of a name; two runs that start at once get two numbers.

    The ranks that this process starts find it in the environment and use the same.

    Raises:
        UserError: the name is not valid for a folder, its folder is not empty, or it cannot be made.
    """
    inherited = os.environ.get(FOLDER)
    if inherited and "LOCAL_RANK" in os.environ:
        return Path(inherited)
    base = (runs / task / recipe).resolve()
    try:
        folder = _numbered(base) if name is None else _named(base, name)
    except OSError as error:
        raise UserError(f"cannot make a run's folder in {base}: {error.strerror}; give another --run.folder") from None
    os.environ[FOLDER] = str(folder)
    return folder


def _named(base: Path, name: str) -> Path:
    if name in ("", ".", "..", "last", "best") or "/" in name or os.sep in name:
        raise UserError(f"got --run.name '{name}', expected the name of one folder; give the place with --run.folder")
    folder = base / name
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.name != LOCK for path in folder.iterdir()):
        place = shlex.quote(str(folder))
        raise UserError(f"{folder} holds a run already; give another --run.name, or go on with it: --ckpt_path {place}")
    return folder


def _numbered(base: Path) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    number = max(_following(base), _kept_number(base))
    while True:
        try:
            (base / str(number)).mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
    return base / str(number)


def keep_number(folder: Path) -> None:
    """Makes sure that no later run gets the number of a folder that is about to be removed.

    Notes, predictions and other runs' settings name runs by their numbers.
    """
    if folder.name.isdecimal():
        base = folder.parent
        with suppress(UserError):  # the removal itself reports a folder that cannot be written
            atomic_write_text(base / NEXT, f"{max(_following(base), _kept_number(base))}\n")


def _following(base: Path) -> int:
    """The number after those of the runs that are there."""
    return max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=-1) + 1


def _kept_number(base: Path) -> int:
    try:
        return int((base / NEXT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def shown(path: Path) -> str:
    """A path relative to the current folder where it is inside it, else absolute."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) and absolute != here else str(absolute)


def surroundings(devices: str) -> Surroundings:
    """Versions, devices, git state and the command, as they are kept beside a run."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "devices": devices,
        "git": _git_state(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> GitState | None:
    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "changed_files": (git("status", "--porcelain") or "").splitlines()} if commit else None
