"""Finds the runs under folders, and gives each a short name that no other has."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from maekit.errors import UserError
from maekit.runs.named import existing_run
from maekit.runs.read import FILES, Run, read_run

_NO_RUNS_IN = {"tensorboard", "examples", "pictures", "report", "wandb", "logs"}


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Reads the runs in folders, at any depth, or the runs that the folders themselves are; each once, in order.

    A run's number or name, such as `3` or `smoke/3`, stands for its folder under `runs`.

    Raises:
        UserError: a path does not exist, or no run is in it.
    """
    found: dict[Path, Run] = {}
    for path in _by_number(paths):
        folders = list(run_folders(existing_run(path)))
        if not folders:
            raise UserError(f"no run in {path}: no folder under it has one of {', '.join(FILES)}")
        for folder in folders:
            if folder.resolve() not in found:
                found[folder.resolve()] = read_run(folder)
    return list(found.values())


def labels(runs: Sequence[Run]) -> dict[Path, str]:
    """Returns the end of each run's path by its folder: two parts, or as many more as make all of them unique."""
    parts = {run.folder: run.folder.resolve().parts for run in runs}
    longest = max((len(own) for own in parts.values()), default=2)
    length = next((n for n in range(2, longest) if len({own[-n:] for own in parts.values()}) == len(parts)), longest)
    return {folder: "/".join(own[-length:]).replace("//", "/") for folder, own in parts.items()}


def run_folders(top: Path) -> Iterator[Path]:
    """Runs' folders under a folder; it does not look for runs inside a run's folder."""
    for here, below, files in os.walk(top):
        if set(FILES) & set(files):
            below.clear()
            yield Path(here)
        below[:] = sorted((name for name in below if name not in _NO_RUNS_IN and not name.startswith(".")), key=_order)


def _by_number(paths: Sequence[Path]) -> list[Path]:
    """Paths as they were given; if they are sorted by letters, as a shell's `*` does, run 10 is put after run 9."""
    if [str(path) for path in paths] != sorted(str(path) for path in paths):
        return list(paths)
    return sorted(paths, key=lambda path: [_order(part) for part in path.parts])


def _order(name: str) -> tuple[int, str]:
    """A sort key that puts run 10 after run 9."""
    return (int(name), "") if name.isdigit() else (-1, name)
