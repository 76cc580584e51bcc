"""Removes runs and checkpoints: never a live run, never what is no run, and never through a link."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.errors import UserError
from maekit.runs.files import CONFIG, ENVIRONMENT, read_mapping
from maekit.runs.folder import keep_number, shown
from maekit.runs.listing.rows import size_of, study_of
from maekit.runs.lock import holder, only_writer
from maekit.runs.named import holds_run

_OWN = {
    ".lock", "config.yaml", "classes.txt", "environment.json", "history.json", "train.csv", "val.csv", "layers.csv",
    "val_table.txt", "evaluation.json", "metrics.json", "confusion.json", "per_class.json", "labels.json",
    "values.json", "reliability.json", "data.json", "image_scores.csv", "curves.json", "samples.png", "nan_step.pt",
    "tensorboard", "pictures", "examples", "report", "wandb",
}  # fmt: skip


@dataclass(frozen=True)
class Removal:
    """What is to be removed of one run.

    Attributes:
        folder: the run's folder.
        files: some of its files; empty for the whole folder.
        bytes: the size of what goes.
        also: names in the folder that no run writes, and that go with it.
    """

    folder: Path
    files: tuple[Path, ...]
    bytes: int
    also: tuple[str, ...] = ()


def whole(folder: Path) -> Removal:
    """The removal of a whole run, checked.

    Raises:
        UserError: the folder is no run's, is reached through a link, holds other runs or this process's folder, is of a
            study, or is being written.
    """
    _require_removable(folder)
    _require_not_live(folder)
    names = sorted(path.name for path in folder.iterdir())
    also = tuple(name for name in names if name not in _OWN and not name.endswith((".ckpt", ".csv")))
    return Removal(folder, (), size_of(folder), also)


def checkpoint(folder: Path, name: str) -> Removal:
    """The removal of one file of a run, checked likewise; a link is removed itself, and not what it points to."""
    _require_removable(folder)
    _require_not_live(folder)
    return Removal(folder, (folder / name,), (folder / name).lstat().st_size)


def removed(removals: Sequence[Removal], say: Callable[[str], None]) -> int:
    """Removes what was planned; returns the bytes. Each run is locked first, so that none begins in its folder.

    A folder is renamed before its files go: a removal that is interrupted leaves no half of a run behind under its
    name.
    """
    total = 0
    for one in removals:
        _require_removable(one.folder)
        _require_not_live(one.folder)
        with only_writer(one.folder):
            if one.files:
                for file in one.files:
                    file.unlink(missing_ok=True)
            else:
                _remove_folder(one.folder)
        total += one.bytes
        say(f"removed {', '.join(map(shown, one.files)) or shown(one.folder)}")
    return total


def _remove_folder(folder: Path) -> None:
    keep_number(folder)
    gone = folder.with_name(f".removed.{folder.name}.{os.getpid()}")
    try:
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        left = f"; what is left of it is in {gone}" if gone.exists() else ""
        raise UserError(f"cannot remove {folder}: {error.strerror}{left}; check who may write there") from None


def _require_removable(folder: Path) -> None:
    """Refuses a folder that is no run's own, or that is reached through a link below the current folder."""
    place = shown(folder)
    if not holds_run(folder) or not _is_own(folder):
        raise UserError(
            f"{place} is no run's folder: it has no {ENVIRONMENT} or {CONFIG} that maekit wrote; not removed"
        )
    for path in (folder, *_below_here(folder)):
        if path.is_symlink():
            raise UserError(
                f"{place} is reached through the link {shown(path)}, which leads to {path.resolve()}; give that path, "
                "or remove the link itself"
            )
    inside = next(_runs_inside(folder), None)
    if inside is not None:
        raise UserError(f"{place} holds more than one run: {shown(inside)} is in it; remove that first")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise UserError(f"{place} is the current folder, or holds it; go elsewhere first")
    study = study_of(folder)
    if study is not None:
        raise UserError(
            f"{place} is a run of the study {shown(study)}, whose database counts on it; remove the whole study instead"
        )


def _is_own(folder: Path) -> bool:
    """Whether maekit wrote the configuration or the record that is in the folder."""
    if {"versions", "command"} <= set(read_mapping(folder / ENVIRONMENT).values):
        return True
    try:
        return (folder / CONFIG).read_text(encoding="utf-8").startswith("# task ")
    except (OSError, UnicodeDecodeError):
        return False


def _below_here(folder: Path) -> Iterator[Path]:
    """The folders above one, up to `runs/`: a folder of all runs may be a link, to a larger disk."""
    yield from folder.absolute().parents[:2]


def _runs_inside(folder: Path) -> Iterator[Path]:
    for here, below, _ in os.walk(folder):
        inner = [Path(here) / name for name in below]
        yield from (one for one in inner if not one.is_symlink() and (holds_run(one) or (one / ".git").exists()))
    if (folder / ".git").exists():
        yield folder / ".git"


def _require_not_live(folder: Path) -> None:
    process = holder(folder)
    if process is not None:
        raise UserError(f"{shown(folder)} is running: {process} writes there; stop it first")
