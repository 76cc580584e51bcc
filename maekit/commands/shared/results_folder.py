"""The folder that `maekit predict` writes into: one call at a time, and never the results of two calls or models."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from maekit.errors import UserError
from maekit.system.files import write_json
from maekit.system.numbers import plural
from maekit.system.processes import try_lock
from maekit.system.terminal import say

Record = Mapping[str, str | int]
Seen = dict[str, tuple[int, int]]  # files by their paths below a folder: time in nanoseconds and inode
DEFAULT, RECORD = "predictions", "predicted_by.json"
_RESULTS, _FILES = ("predictions.csv", "predictions.json"), "files"


@contextmanager
def results_folder(given: Path | None, record: Record) -> Iterator[Path]:
    """Gives the folder of the results, and records there which model wrote which files; removes a new one left empty.

    What an earlier call of the same model wrote and this one did not write again is removed when this one has come to
    its end. One that is stopped removes nothing, and its files are recorded for the next.

    Args:
        given: `--output`; None takes the first of predictions, predictions2, predictions3 that does not exist.
        record: what is kept of the model; `checkpoint` is its file.

    Raises:
        UserError: the folder has another model's results, cannot be made, or another call writes there.
    """
    folder, made = (_new_folder(), None) if given is None else (given, _made(given))
    try:
        with _only_call(folder):
            known = set() if given is None else _recorded(folder, record)
            before = _files(folder)
            earlier = before.keys() & (known or set())
            try:
                yield folder
            except BaseException:
                if unfinished := earlier | _changed(folder, before):
                    with suppress(UserError):  # the first error counts
                        write_json(folder / RECORD, {**record, _FILES: sorted(unfinished)})
                raise
            written = _changed(folder, before)
            _remove(folder, earlier - written)
            if known is None and (others := before.keys() - written):
                say(f"note    {plural(len(others), 'older file')} in {folder}: no record says whether they are results")
            write_json(folder / RECORD, {**record, _FILES: sorted(written)})
    except BaseException:
        _remove_empty(folder, made)
        raise


def _made(given: Path) -> Path:
    """Makes a folder, and returns the highest one that was made; the folder itself where it was there."""
    new = [path for path in (given.absolute(), *given.absolute().parents) if not path.exists()]
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {given}: cannot be made ({error.strerror}); give another folder") from None
    if not os.access(given, os.W_OK | os.X_OK):
        raise UserError(f"--output {given}: nothing can be written there (permission denied); give another folder")
    return new[-1] if new else given


def _remove_empty(folder: Path, made: Path | None) -> None:
    """Removes a folder without files, and those above it that were made for it."""
    if made == folder:  # it was there before
        return
    top = folder.absolute() if made is None else made
    for path in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):  # it holds results
            path.rmdir()
        if path == top:
            return


@contextmanager
def _only_call(folder: Path) -> Iterator[None]:
    """Keeps other calls out of a folder; the lock is on the folder itself and ends with the process."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        if not try_lock(handle):
            raise UserError(
                f"--output {folder}: another maekit predict writes there; wait until it has ended, or give another "
                "folder"
            )
        yield
    finally:
        os.close(handle)


def _recorded(folder: Path, record: Record) -> set[str] | None:
    """Returns the files that earlier calls of the same model recorded; None if they did not, as earlier versions.

    Raises:
        UserError: the folder has another model's results.
    """
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    files = found.pop(_FILES, None) if isinstance(found, dict) else None
    if found == record:
        return {str(name) for name in files} if isinstance(files, list) else None
    if found is None and not any((folder / name).exists() for name in _RESULTS):
        return set()
    known = isinstance(found, dict) and found.get("checkpoint")
    whose = f"{found['checkpoint']} (step {found.get('step')})" if known else "a model that is not recorded"
    raise UserError(
        f"--output {folder}: holds the results of {whose}, got {record['checkpoint']} (step {record['step']}); give "
        "another folder, or leave --output out for a new one"
    )


def _files(folder: Path) -> Seen:
    """Returns the files below a folder, but for the record; links to folders are not followed."""
    found: Seen = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = Path(here, name)
            with suppress(OSError):
                stat = path.lstat()
                found[path.relative_to(folder).as_posix()] = stat.st_mtime_ns, stat.st_ino
    found.pop(RECORD, None)
    return found


def _changed(folder: Path, before: Seen) -> set[str]:
    return {name for name, state in _files(folder).items() if before.get(name) != state}


def _remove(folder: Path, names: set[str]) -> None:
    """Removes files that are below a folder, and the folders that this leaves empty."""
    for name in sorted(names):
        with suppress(OSError):
            (folder / name).unlink()
        for above in Path(name).parents[:-1]:
            with suppress(OSError):
                (folder / above).rmdir()
    if names:
        say(f"removed {plural(len(names), 'file')} of an earlier call in {folder} that this one did not write again")


def _new_folder() -> Path:
    for number in count(1):
        folder = Path(DEFAULT if number == 1 else f"{DEFAULT}{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make {folder}: {error.strerror}; give --output FOLDER") from None
    raise AssertionError
