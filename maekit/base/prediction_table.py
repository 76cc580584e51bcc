"""The table of predictions, for spreadsheets as CSV and for programs as JSON, with the same numbers."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

Cell = str | int | float | None


class PredictionTable:
    """Writes `predictions.csv` and `predictions.json` as predictions come; both appear when all are done.

    Until then they are `predictions.partial.csv` and `predictions.partial.json`, which a run that was stopped leaves
    behind: the rows of the CSV are whole and may be used, and the next run overwrites them. The JSON is an object with
    what holds for all images and, last, `images`: an object for each image, one a line.

    Args:
        folder: where both files are written; it is made with the first image.
        columns: heads of the CSV.
        about: what the JSON says of all images.
        name: of both files, without the ending.
    """

    def __init__(
        self, folder: Path, columns: Sequence[str], about: Mapping[str, object], *, name: str = "predictions"
    ) -> None:
        self.folder, self.name, self.columns, self.about = folder, name, columns, about
        self.begun, self.num_images = False, 0

    def add(self, rows: Sequence[Sequence[Cell]], image: Mapping[str, object]) -> None:
        """Adds an image.

        Args:
            rows: of the CSV; None is an empty cell.
            image: of the JSON; plain values.
        """
        self._begin()
        self._append_rows(rows)
        comma = "," if self.num_images else ""
        self._append_json(f"{comma}\n  {json.dumps(image, allow_nan=False)}")
        self.num_images += 1

    def close(self) -> Path:
        """Finishes both files, and returns the CSV."""
        self._begin()
        self._append_json("\n ]\n}\n" if self.num_images else "]\n}\n")
        for ending in ("csv", "json"):
            self._partial(ending).replace(self.folder / f"{self.name}.{ending}")
        return self.folder / f"{self.name}.csv"

    def _begin(self) -> None:
        """Writes what comes before the first image; not earlier, so that a refused image leaves no file."""
        if self.begun:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for ending in ("csv", "json"):
            self._partial(ending).unlink(missing_ok=True)
        self._append_rows([self.columns])
        items = [f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in self.about.items()]
        self._append_json("".join(["{\n", *items, ' "images": [']))
        self.begun = True

    def _append_rows(self, rows: Sequence[Sequence[Cell]]) -> None:
        with self._partial("csv").open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def _append_json(self, text: str) -> None:
        with self._partial("json").open("a", encoding="utf-8") as file:
            file.write(text)

    def _partial(self, ending: str) -> Path:
        return self.folder / f"{self.name}.partial.{ending}"


def number(value: float, digits: int = 6) -> float | None:
    """Returns a number rounded to so many decimals, as both files hold it; None for NaN and infinity."""
    return round(float(value), digits) if math.isfinite(value) else None
