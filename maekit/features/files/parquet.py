"""Writes features as one Parquet file, for tables and databases. Needs pyarrow, which maekit does not install."""

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from maekit.errors import UserError
from maekit.features.files.listings import read_lines
from maekit.system.files import atomic_write

ROWS = 8192  # at a time, and in one row group


def require_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Returns the modules pyarrow and pyarrow.parquet.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(
            "--format parquet needs pyarrow, which is not installed; `pip install pyarrow`, or leave the flag out"
        ) from None


def write_parquet(folder: Path) -> None:
    """Writes features.parquet from features.npy, files.txt and, if there are classes, labels.npy and classes.txt.

    Columns: `file`, `feature` (a list of D numbers), and with classes `label` and `class`.
    """
    arrow, parquet = require_pyarrow()
    features = np.load(folder / "features.npy", mmap_mode="r")
    files = read_lines(folder / "files.txt")
    labels = np.load(folder / "labels.npy") if (folder / "labels.npy").is_file() else None
    names = np.array(read_lines(folder / "classes.txt"), dtype=object) if labels is not None else None
    with atomic_write(folder / "features.parquet") as file:
        writer = None
        for first in range(0, len(features), ROWS):
            part = slice(first, first + ROWS)
            flat = arrow.array(np.ascontiguousarray(features[part]).ravel())
            columns = {
                "file": arrow.array([_text(name) for name in files[part]], arrow.string()),
                "feature": arrow.FixedSizeListArray.from_arrays(flat, features.shape[1]),
            }
            if labels is not None and names is not None:
                classes = [_text(name) for name in names[labels[part]]]
                columns |= {"label": arrow.array(labels[part]), "class": arrow.array(classes, arrow.string())}
            table = arrow.table(columns)
            if writer is None:
                facts = (folder / "features.json").read_bytes()
                schema = table.schema.with_metadata({"maekit": json.dumps(json.loads(facts))})
                writer = parquet.ParquetWriter(file, schema)
            writer.write_table(table.replace_schema_metadata(writer.schema.metadata))
        if writer is not None:
            writer.close()


def _text(name: str) -> str:
    """Parquet's strings are UTF-8; a byte in no known encoding becomes a question mark."""
    return name.encode("utf-8", "replace").decode()
