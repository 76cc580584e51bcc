"""Writes the files of one evaluation in a run's folder: results, table, and which weights were evaluated."""

import json
from pathlib import Path

from maekit.system.files import atomic_write_text, write_json
from maekit.training.run_module import RunModule

FILE = "evaluation.json"


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
    for name, content in module.results.items():
        atomic_write_text(folder / name, json.dumps(content, separators=(",", ":")) + "\n")
    write_json(folder / FILE, {"checkpoint": checkpoint, "step": step})
