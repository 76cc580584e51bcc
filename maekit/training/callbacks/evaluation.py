"""Writes the files of one evaluation in a run's folder: results, table, and which weights were evaluated."""

import json
from pathlib import Path
from typing import Any

from maekit.base.evaluation.image_records import as_csv, bootstrap
from maekit.runs.files import EVALUATION, IMAGE_SCORES
from maekit.system.files import atomic_write_text, write_json
from maekit.system.terminal import say
from maekit.training.run_module import RunModule


def write_evaluation(folder: Path, module: RunModule, checkpoint: str | None, step: int) -> None:
    """Writes the newest validation's table and its own files, such as `confusion.json` or COCO's results.

    Args:
        folder: the run's.
        module: the TransferModule, which has validated.
        checkpoint: the file that holds the weights that were validated; None where none does.
        step: optimizer steps done.
    """
    if module.table:
        atomic_write_text(folder / "val_table.txt", "\n".join(module.table) + "\n")
    found = of_images(module)
    about = {"checkpoint": checkpoint, "step": step, **found.pop(EVALUATION, {})}
    for name, content in {**module.results, **found}.items():
        text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":")) + "\n"
        atomic_write_text(folder / name, text)
    write_json(folder / EVALUATION, about)


def of_images(module: RunModule) -> dict[str, Any]:
    """Returns the text of `image_scores.csv` of the newest validation, and `evaluation.json` with `intervals`.

    A fault here ends no run: it is one line, and the evaluation stands.
    """
    if module.records is None:
        return {}
    try:
        scores = as_csv(module.records, module.data.val_files(), str(module.data.identity().folder))
        intervals = bootstrap(module.records)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        say(f"no scores of single images: {reason}; the validation itself is whole")
        return {}
    return {IMAGE_SCORES: scores, EVALUATION: {} if intervals is None else {"intervals": intervals.plain()}}
