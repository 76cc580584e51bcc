"""Folders of results: no `maekit predict` replaces another model's results or mixes with them, none go among images."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from maekit.errors import UserError
from maekit.system.files import write_json

Record = Mapping[str, str | int]
DEFAULT, RECORD = "predictions", "predicted_by.json"
_RESULTS = ("predictions.csv", "predictions.json")


@contextmanager
def results_folder(given: Path | None, record: Record) -> Iterator[Path]:
    """Gives the folder of the results, and records there which model they are of; removes a new one left empty.

    Args:
        given: `--output`; None takes the first of predictions, predictions2, predictions3 that does not exist.
        record: what is kept of the model; `checkpoint` is its file.

    Raises:
        UserError: the folder has another model's results, or cannot be made.
    """
    is_new = given is None or not given.exists()
    if given is None:
        folder = _new_folder()
    else:
        folder = given
        _refuse_other_results(folder, record)
    try:
        yield folder
    except BaseException:
        if is_new:
            with suppress(OSError):  # it holds results, or was never made
                folder.rmdir()
        raise
    if folder.is_dir():
        write_json(folder / RECORD, record)


def refuse_file(output: Path | None) -> None:
    """Refuses an `--output` that is a file, before anything is loaded."""
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file, expected a folder; choose another")


def refuse_results_among_images(images: Path, output: Path) -> None:
    """Refuses an output folder in which the next run would take this one's results for images."""
    folder = images.resolve()
    if images.is_dir() and output.resolve().is_relative_to(folder):
        where = "is the folder of the images" if output.resolve() == folder else f"lies in the images' folder {images}"
        raise UserError(
            f"--output {output}: {where}, where the next run would take the results for images; "
            f"choose a folder outside, such as {images.absolute().parent / 'predictions'}"
        )


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


def _refuse_other_results(folder: Path, record: Record) -> None:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == record or (found is None and not any((folder / name).exists() for name in _RESULTS)):
        return
    known = isinstance(found, dict) and found.get("checkpoint")
    whose = f"{found['checkpoint']} (step {found.get('step')})" if known else "a model that is not recorded"
    raise UserError(
        f"--output {folder}: holds the results of {whose}, got {record['checkpoint']} (step {record['step']}); give "
        "another folder, or leave --output out for a new one"
    )
