"""Small images of two handwritten digits with a table: which digits they are, their sum, and a grade of it."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from maekit.data.digits import DIGITS, Digit, cached, digits, make

SIDE, DIGIT_SIDE = 32, 16
NUM_TRAIN, NUM_VAL = 4000, 400
GRADES = ("low", "medium", "high", "very high")  # sums up to 4, 9, 13 and 18
HIGHEST = (4, 9, 13)
TABLE = "pairs.csv"
VERSION = 1


def pairs_root() -> Path:
    """Returns the folder of the pairs (`$MAEKIT_CACHE/pairs-v1`), which the first call makes."""
    return cached(f"pairs-v{VERSION}", write_pairs)


def make_pairs(folder: Path) -> str:
    """Writes 4,000 training and 400 validation images of 32 x 32 pixels with two handwritten digits each.

    `pairs.csv` has the columns file, split, labels (`three;five`, or `three` where both are), sum (0 to 18) and grade
    (`low` to `very high`, of the sum). A handwritten digit is in images of one split only.

    Args:
        folder: must not exist, or be empty.

    Returns:
        One line for the user with the numbers and the folder.

    Raises:
        UserError: as `make`.
    """
    path = make(folder, write_pairs)
    return f"wrote {NUM_TRAIN:,} training and {NUM_VAL} validation images of two digits to {path}"


def write_pairs(folder: Path) -> None:
    """Fills a folder with the images and the table that `make_pairs` describes."""
    known, rows = list(digits()), []
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        (folder / split).mkdir(parents=True)
        pool = [digit for digit in known if digit.in_val == (split == "val")]
        for number in range(count):
            rng = np.random.RandomState(2 * number + (split == "val"))
            first, second = (pool[rng.randint(len(pool))] for _ in range(2))
            file = f"{split}/{number:05}.png"
            Image.fromarray(draw_pair(first, second)).convert("RGB").save(folder / file)
            rows.append((file, split, *_answers(first.label, second.label)))
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(("file", "split", "labels", "sum", "grade"))
        writer.writerows(rows)


def draw_pair(first: Digit, second: Digit) -> np.ndarray:
    """Returns [32, 32] uint8: one digit on the left and one on the right, in the middle of its half."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    top = (SIDE - DIGIT_SIDE) // 2
    for digit, left in ((first, 0), (second, SIDE - DIGIT_SIDE)):
        pixels = Image.fromarray(digit.pixels).resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC)
        image[top : top + DIGIT_SIDE, left : left + DIGIT_SIDE] = np.asarray(pixels)
    return image


def _answers(first: int, second: int) -> tuple[str, int, str]:
    total = first + second
    grade = GRADES[sum(total > highest for highest in HIGHEST)]
    return ";".join(DIGITS[label] for label in sorted({first, second})), total, grade
