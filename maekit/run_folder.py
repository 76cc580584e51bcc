"""`runs/<task>/<recipe>/<number>/`: made once, never overwritten, found again by `last`. Standard library only."""

import json
import math
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maekit.errors import UserError, nearest
from maekit.files import atomic_write_text

FOLDER = "MAEKIT_RUN_FOLDER"
LOCK = ".lock"  # of a study, which holds it while a run is on
PACKAGES = ("maekit", "torch", "torchvision", "lightning", "timm", "torchmetrics", "jsonargparse", "numpy", "pillow")


def rank() -> int:
    """This process's number in a distributed run, as the launcher says; 0 when it is alone."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def new_folder(runs: Path, task: str, recipe: str, name: str | None = None) -> Path:
    """Makes the next numbered folder, or that of a name; two runs that start at once get two numbers.

    The ranks that this process starts find it in the environment and use the same.

    Raises:
        UserError: the name is none for a folder, or its folder holds something.
    """
    inherited = os.environ.get(FOLDER)
    if inherited and "LOCAL_RANK" in os.environ:
        return Path(inherited)
    base = (runs / task / recipe).resolve()
    folder = _numbered(base) if name is None else _named(base, name)
    os.environ[FOLDER] = str(folder)
    return folder


def _named(base: Path, name: str) -> Path:
    if name in ("", ".", "..") or "/" in name or os.sep in name:
        raise UserError(f"got --run.name '{name}', expected the name of one folder; give the place with --run.folder")
    folder = base / name
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.name != LOCK for path in folder.iterdir()):
        raise UserError(
            f"{folder} holds a run already; give another --run.name, or go on with it: --ckpt_path {folder}"
        )
    return folder


def _numbered(base: Path) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in base.iterdir() if path.name.isdigit()), default=-1) + 1
    while True:
        try:
            (base / str(number)).mkdir()
            break
        except FileExistsError:
            number += 1
    return base / str(number)


def find_checkpoint(given: str, runs: Path, task: str | None = None, recipe: str | None = None) -> Path:
    """The file that `--ckpt_path` means: a path, a run's folder, or `last` / `best` of the newest run.

    Raises:
        UserError: no such file, or no run of this task and recipe has one.
    """
    if given in ("last", "best"):
        if task is None or recipe is None:
            raise UserError(f"got --ckpt_path {given} and no --task to look for it; give the file or its run's folder")
        base = runs / task / recipe
        numbers = (
            sorted((int(p.name) for p in base.iterdir() if p.name.isdigit()), reverse=True) if base.is_dir() else []
        )
        files = [base / str(number) / f"{given}.ckpt" for number in numbers]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise UserError(
                f"no {given}.ckpt in any run under {base}; give --ckpt_path FILE, or --run.folder of the run"
            )
        return found.resolve()
    path = Path(given).expanduser()
    if path.is_dir():
        path = path / "last.ckpt"
    if not path.is_file():
        names = [file.name for file in path.parent.glob("*.ckpt")] if path.parent.is_dir() else []
        near = nearest(path.name, [*names, "last", "best"])
        raise UserError(f"no checkpoint {path}{near} (--ckpt_path takes a file, a run's folder, last or best)")
    return path.resolve()


def requeued_checkpoint(runs: Path, task: str, recipe: str) -> Path | None:
    """`last.ckpt` of the run that this SLURM job was before it went back into the queue, if it was."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or int(os.environ.get("SLURM_RESTART_COUNT", "0")) == 0:
        return None
    for file in (runs / task / recipe).glob("*/environment.json"):
        try:
            same = json.loads(file.read_text(encoding="utf-8")).get("slurm_job") == job
        except ValueError:
            continue
        if same and (file.parent / "last.ckpt").is_file():
            return (file.parent / "last.ckpt").resolve()
    return None


def surroundings(devices: str) -> dict[str, Any]:
    """Versions, devices, git state and the command, as they are kept beside a run."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": devices,
        "git": _git_state(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def write_json(file: Path, values: Any) -> None:
    """Writes plain values as indented JSON, whole or not at all; a number that is none becomes null."""
    atomic_write_text(file, json.dumps(finite(values), indent=2) + "\n")


def finite(values: Any) -> Any:
    """Returns plain values with None for nan and infinity, which JSON has no words for."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "changed_files": (git("status", "--porcelain") or "").splitlines()} if commit else None
