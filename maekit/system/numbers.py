"""Numbers as text: for sentences (`number`, `duration`, `plural`), and for columns and axes (`number_text`)."""

import math
from collections.abc import Sequence
from statistics import median

from maekit.system.plain import is_number


def number(value: float) -> str:
    """A number in a sentence, to four digits: `99.25`, `0.1218`, `3.2e-05`, `125,000`; `nan` stays a word."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.3g}"


def written_number(text: str) -> float:
    """The number that a file or a table writes.

    Raises:
        ValueError: it is none, or its digits are divided by underscores, which Python alone would read.
    """
    if "_" in text:
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)


def cell_text(value: object) -> str:
    """A value in a table to be read: numbers as `number` writes them, `true` and `false`, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A time of so many seconds: `46.9 s`, `12.3 min`, `5.2 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def percent(share: float) -> str:
    """A share of 1 as `12.5 %`."""
    return f"{number(100 * share)} %"


def plural(count: int, word: str, many: str | None = None) -> str:
    """`1 run`, `3 runs`, `12,000 images`."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def number_text(value: object) -> str:
    """A value in a column, to four digits without separators: `0.1218`, `3.2e-5`, `125000`; nothing for None and NaN.

    Truth values are `yes` and `no`; text stays what it is.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if 1000 <= abs(value) < 1e7:
        return f"{value:.0f}"
    if 0 < abs(value) < 1e-4 or abs(value) >= 1e7:
        return scientific(value)
    return f"{value:.4g}"


def number_texts(values: Sequence[object]) -> list[str]:
    """The values of one column as text: numbers of like size with the same number of decimals, so that they align."""
    kept = [value for value in values if value is not None and value == value]
    sizes = [abs(value) for value in kept if isinstance(value, float) and value]
    alike = bool(sizes) and all(isinstance(value, float) for value in kept) and max(sizes) / min(sizes) <= 100
    if not alike or max(sizes) >= 1e5 or min(sizes) < 1e-3:
        return [number_text(value) for value in values]
    needed = max(len(number_text(value).partition(".")[2]) for value in kept)
    digits = max(3 - math.floor(math.log10(median(sizes))), 1 - math.floor(math.log10(min(sizes))))
    decimals = max(0, min(needed, digits))  # four digits of the middle one, two of the smallest
    return [f"{value:.{decimals}f}" if is_number(value) and value == value else "" for value in values]


def scientific(value: float) -> str:
    """Four digits and a short exponent: `3.2e-5`, `1e7`."""
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
