"""A study as `study.json` holds it. Standard library only, so that a report of a study starts at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell

STUDY_FILE = "study.json"
FORMAT = 1


class SavedTrial(TypedDict):
    """One trial. What is not known yet, or was never measured, is None.

    Attributes:
        number: in the order of the queue, from 0.
        values: the cell.
        seed: the run's seed.
        fold: the fold it is validated on, as `2/5`; None, or missing in files of earlier versions, without folds.
        rung: of halving; None without it.
        state: `complete`, `pruned`, `failed`, `running` or `waiting`.
        value: the metric where the trial ended.
        best: its best value so far.
        steps: optimizer steps of this trial alone.
        end_step: the run's step where the trial ended.
        seconds: of this trial alone.
        images_per_second: in training.
        peak_memory_gib: of the accelerator, or of the process on a CPU.
        folder: the run's, below the study's.
        host: where it ran.
        reason: why it failed or was pruned.
        intermediate: step -> metric at each validation.
    """

    number: int
    values: Cell
    seed: int
    fold: NotRequired[str | None]
    rung: int | None
    state: Literal["complete", "pruned", "failed", "running", "waiting"]
    value: float | None
    best: float | None
    steps: int | None
    end_step: int | None
    seconds: float | None
    images_per_second: float | None
    peak_memory_gib: float | None
    folder: str | None
    host: str | None
    reason: str | None
    intermediate: Mapping[str, float]


class Halving(TypedDict):
    """What halving decided.

    Attributes:
        rungs: the optimizer steps at which cells are compared, and last those of a whole run.
        kept: the cells that went on after each rung so far.
    """

    rungs: list[int]
    kept: list[list[Cell]]


@dataclass(frozen=True)
class Study:
    """A study as its folder holds it.

    Attributes:
        folder: the study's folder.
        definition: what it varies, and how.
        trials: its trials.
        halving: None without halving.
        storage: the database's URL without its password.
        updated: when the file was written, ISO 8601.
    """

    folder: Path
    definition: Definition
    trials: tuple[SavedTrial, ...] = field(repr=False)
    halving: Halving | None = None
    storage: str = ""
    updated: str = ""


def read_study(folder: Path, file: str = STUDY_FILE) -> Study:
    """Reads a study's folder.

    Args:
        folder: the study's.
        file: the file in it, if not that of the whole study.

    Raises:
        UserError: the file is missing, truncated, or of another version.
    """
    path = folder / file
    if not path.is_file():
        raise UserError(f"no study in {folder}: it has no {file}; give the folder that `maekit sweep` made")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is cut off or damaged ({error}); run the study's command again, which writes it anew"
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT or "trials" not in values:
        raise UserError(f"{path} is not of this version of maekit (expected format {FORMAT}); use the one that made it")
    return Study(
        folder,
        Definition.from_json(values.get("definition", {})),
        tuple(values["trials"]),
        values.get("halving"),
        values.get("storage", ""),
        values.get("updated", ""),
    )
