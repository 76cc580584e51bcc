"""Tables of small images with targets of all kinds."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from maekit.classification.data.table_images import TableImages
from tests.classification.data.helpers import NUMBERS

Row = dict[str, str]
Change = Callable[[list[Row]], list[Row]]
Data = TypeVar("Data", bound=TableImages)


def made(folder: Path, change: Change = lambda rows: rows) -> Path:
    """Twelve images of four patients with a table: labels, columns of two labels, age, weight, and two splits."""
    rows: list[Row] = []
    for number in range(12):
        name = f"{number:02}.png"
        Image.new("RGB", (16, 16), (20 * number,) * 3).save(folder / name)
        has = [label for label, there in (("cat", number % 2), ("dog", number % 3)) if there]
        row = {"file": name, "labels": ";".join(has), "split": "val" if number >= 9 else "train"}
        row |= {label: str(int(label in has)) for label in ("cat", "dog")}
        rows.append(row | {"age": str(number), "weight": str(50.5 - number), "patient": f"p{number // 3}"})
    rows = change(rows)
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def data(kind: type[Data], table: Path | None, **changes: Any) -> Data:
    """The data of a table with changes."""
    numbers = {**NUMBERS, "image_size": 16, "val_fraction": 0.25, "root": None}
    return kind(**numbers | {"table": None if table is None else str(table)} | changes)


def without(*columns: str) -> Change:
    return lambda rows: [{name: value for name, value in row.items() if name not in columns} for row in rows]


def changed(column: str, value: str, at: Sequence[int] = (3,)) -> Change:
    return lambda rows: [row | {column: value} if number in at else row for number, row in enumerate(rows)]
