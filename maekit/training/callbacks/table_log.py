"""Logs metrics to CSV files, to which a resumed run appends."""

import csv
import io
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from maekit.runs.rows import text_rows
from maekit.system.files import atomic_write_text


class TableLog(Logger):
    """Writes `train/loss` to the column `loss` of `train.csv`, `val/top1` to `top1` of `val.csv`, and so on.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @property
    def name(self) -> str:
        """Returns `table`; Lightning requires a name."""
        return "table"

    @property
    def version(self) -> int:
        """Returns 0; Lightning requires a version."""
        return 0

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, object] | Namespace, *args: object, **kwargs: object) -> None:
        """Does nothing, since config.yaml holds the hyper-parameters."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends one row to the table of each split; a row is on disk when this returns."""
        for split in dict.fromkeys(key.split("/")[0] for key in metrics):
            row = {
                key.removeprefix(f"{split}/"): value for key, value in metrics.items() if key.startswith(f"{split}/")
            }
            append_row(self.folder / f"{split}.csv", {"step": step, **row})

    @rank_zero_only
    def forget_after(self, step: int) -> None:
        """Drops the rows of later steps than the one from which a run resumes: those steps are repeated."""
        for file in self.folder.glob("*.csv"):
            found = text_rows(file)
            if found and "step" not in found[0]:
                continue  # of an evaluation, as image_scores.csv
            kept = [row for row in found if int(row["step"]) <= step]
            if len(kept) < len(found) or not whole(file):
                rewrite(file, list(found[0]) if found else [], kept)


def whole(file: Path) -> bool:
    """Whether the last line is complete; a kill may have cut it."""
    with file.open("rb") as lines:
        lines.seek(max(lines.seek(0, 2) - 1, 0))
        return lines.read() in (b"", b"\n")


def rewrite(file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Replaces a table atomically: a reader sees the old or the new one, also after a kill."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    if columns:
        writer.writeheader()
    writer.writerows(rows)
    atomic_write_text(file, text.getvalue())


def append_row(file: Path, row: Mapping[str, object]) -> None:
    """Appends a row; a new column rewrites the table with it, empty in the rows before."""
    with file.open("a+", newline="", encoding="utf-8") as lines:
        lines.seek(0)
        columns = next(csv.reader(lines), [])
        if not set(row) <= set(columns):
            before = text_rows(file)
            columns = [*columns, *(key for key in row if key not in columns)]
            rewrite(file, columns, [*before, row])
        else:
            csv.DictWriter(lines, columns, restval="").writerow(dict(row))
