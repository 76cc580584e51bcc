"""Which weights a run started from: by their name, and by the pre-training that the run recorded."""

import fnmatch
from functools import cache
from pathlib import Path

from maekit.paper.tables import Cell, load_table, table_names
from maekit.runs.read import Run

FILE_ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
BACKBONE = "model.backbone"


def origin(run: Run, cell: Cell) -> str | None:
    """Returns the first of the cell's patterns that the run's weights match; None without one."""
    weights = _weights(run)
    return next((pattern for pattern in cell.ours.weights if _matches(weights, pattern)), None)


def is_of_row(run: Run, cell: Cell) -> bool:
    """Whether a run's weights may belong to a cell's row.

    A row that compares another pre-training takes only runs known to start from weights of it. The row of the recipe's
    own pre-training takes all but those known to be of another; a row that names no pre-training takes all.
    """
    known, wanted = pretraining_of(run), cell.ours.pretraining
    if not wanted or cell.ours.evaluation:
        return True
    return known == wanted if cell.ours.comparison else known in ("", wanted)


def pretraining_of(run: Run) -> str:
    """Returns the pre-training of a run's weights: by a name that a table lists, else as recorded; empty if unknown."""
    weights = _weights(run)
    named = (pretraining for pattern, pretraining in _compared() if _matches(weights, pattern))
    return next(named, run.pretraining)


def is_same_size(run: Run, backbone: object) -> bool:
    """Whether the run's backbone has the size (`vit_base`) of another; patch and variant may differ."""
    return _size(run.flat_config.get(BACKBONE)) == _size(backbone)


def _size(backbone: object) -> str:
    return str(backbone).partition("_patch")[0]


@cache
def _compared() -> tuple[tuple[str, str], ...]:
    """The patterns of all rows that compare another pre-training, each with its pre-training."""
    cells = [cell for name in table_names() for cell in load_table(name).cells if cell.ours.comparison]
    return tuple(dict.fromkeys((pattern, cell.ours.pretraining) for cell in cells for pattern in cell.ours.weights))


def _weights(run: Run) -> str:
    return str(run.flat_config.get("model.weights"))


def _matches(weights: str, pattern: str) -> bool:
    """Whether `--model.weights` matches a pattern: the end of a path, or a name without its ending."""
    if "/" in pattern:
        return fnmatch.fnmatchcase("/" + weights.lstrip("/"), pattern)
    name = Path(weights)
    return pattern in (name.stem if name.suffix in FILE_ENDINGS else name.name, name.name)
