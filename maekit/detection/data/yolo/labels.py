"""Reads the label files of YOLO's form: a class number and a box or a polygon a line, in shares of the image."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from maekit.errors import UserError
from maekit.system.numbers import written_number
from maekit.system.size import HeightWidth

FORM = "expected `class cx cy width height` or `class x1 y1 x2 y2 x3 y3 ...`"
BOX, LEAST, SLACK = 4, 6, 1e-6  # numbers of a box, of a polygon; how far rounding may leave 0..1


class YoloObject(NamedTuple):
    """One object of an image.

    Attributes:
        label: its class number.
        box: x y width height of its box as shares of the image; empty for a polygon.
        polygon: x1 y1 x2 y2 ... as shares of the image; empty for a box.
    """

    label: int
    box: tuple[float, ...]
    polygon: tuple[float, ...]

    def in_pixels(self, size: HeightWidth) -> tuple[list[float], list[float]]:
        """Returns box and polygon in pixels of an image; the box of a polygon is the smallest around it."""
        sides = (float(size.width), float(size.height))
        box, polygon = ([value * sides[at % 2] for at, value in enumerate(part)] for part in (self.box, self.polygon))
        if polygon:
            x, y = polygon[::2], polygon[1::2]
            box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        return box, polygon


def read_labels(path: Path, classes: Mapping[int, str]) -> tuple[list[YoloObject], list[int]]:
    """Reads one file; a missing or empty one means an image without objects, as for Ultralytics.

    Returns:
        The objects, each once, and the numbers of the lines that repeat an earlier one.

    Raises:
        UserError: with file and line: a wrong count of numbers, no number, outside 0..1, or an unknown class.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return [], []
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as text, {FORM}") from None
    found: dict[YoloObject, None] = {}
    repeated = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            one = _object(line.split(), f"{path}:{number}", classes)
            if one in found:
                repeated.append(number)
            found[one] = None
    return list(found), repeated


def _object(fields: list[str], where: str, classes: Mapping[int, str]) -> YoloObject:
    try:
        first, *numbers = (written_number(field) for field in fields)
    except ValueError:
        raise UserError(f"{where}: got {' '.join(fields)!r:.60}, {FORM}, all numbers") from None
    count = len(numbers)
    if count != BOX and (count < LEAST or count % 2):
        hint = "; a box with a confidence is a prediction, not a label" if count == BOX + 1 else ""
        raise UserError(f"{where}: {count} numbers after the class, {FORM}{hint}")
    if first not in classes:
        known = f"{min(classes)} to {max(classes)}"
        raise UserError(f"{where}: class {fields[0]}, expected one of the {len(classes)} named ones, {known}")
    wrong = next((number for number in numbers if not -SLACK <= number <= 1 + SLACK), None)
    if wrong is not None:
        pixels = "these are pixels: divide x by the width and y by the height" if wrong > 2 else "mend the line"
        bad = "NaN" if math.isnan(wrong) else f"{wrong:g}"
        raise UserError(f"{where}: got {bad}, expected shares of the image's width and height, 0 to 1; {pixels}")
    if count > BOX:
        return YoloObject(int(first), (), tuple(numbers))
    x, y, width, height = numbers
    return YoloObject(int(first), (x - width / 2, y - height / 2, width, height), ())
