"""Where `maekit predict` writes: no run of it replaces, or mixes with, the results of another model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.errors import UserError
from maekit.system.files import write_json

if TYPE_CHECKING:
    from maekit.base.checkpoint_card import Card

DEFAULT, RECORD = "predictions", "predicted_by.json"
_RESULTS = ("predictions.csv", "predictions.json")


@contextmanager
def results_folder(given: Path | None, checkpoint: Path, card: "Card") -> Iterator[Path]:
    """The folder of the results, which says which checkpoint they are of; a new one that stays empty goes again.

    Args:
        given: `--output`; None takes the first of predictions, predictions2, predictions3 that does not exist.
        checkpoint: the file of the weights.
        card: its own.

    Raises:
        UserError: the folder has another checkpoint's results, or cannot be made.
    """
    mine: dict[str, str | int] = {"checkpoint": str(checkpoint), "step": card.step, "task": card.task}
    made = given is None or not given.exists()
    folder = _next() if given is None else given
    if given is not None:
        _refuse_others(folder, mine)
    try:
        yield folder
    except BaseException:
        if made:
            with suppress(OSError):  # it has results, or was never made
                folder.rmdir()
        raise
    if folder.is_dir():
        write_json(folder / RECORD, mine)


def _next() -> Path:
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


def _refuse_others(folder: Path, mine: dict[str, str | int]) -> None:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == mine or (found is None and not any((folder / name).exists() for name in _RESULTS)):
        return
    known = isinstance(found, dict) and found.get("checkpoint")
    whose = f"{found['checkpoint']} (step {found.get('step')})" if known else "a checkpoint that is not recorded"
    raise UserError(
        f"--output {folder}: holds the results of {whose}, got {mine['checkpoint']} (step {mine['step']}); give "
        "another folder, or leave --output out for a new one"
    )
