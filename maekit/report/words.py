"""How reports write values: numbers short, settings as they stand in a recipe, times as people say them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maekit.study.define.space import short_value

TOY = "on a toy, not the paper's data: nothing here says anything about published numbers"


def cell_text(value: Any) -> str:
    """A cell of a table in words: numbers to four digits, an empty cell for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """A float to four digits: `99.25`, `0.1218`, `3.2e-05`, `125,000`; `nan` stays a word."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.3g}"


def setting(value: Any) -> str:
    """A value as it would stand on one line of a recipe: `null`, `true`, `1e-4`, `[0.9,0.95]`."""
    try:
        return short_value(value)
    except TypeError:  # what YAML has beyond JSON, such as a date
        return str(value)


def duration(seconds: float) -> str:
    """A time of so many seconds: `46.9 s`, `12.3 min`, `5.2 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plural(count: int, word: str, many: str | None = None) -> str:
    """`1 run`, `3 runs`."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def task_name(task: str) -> str:
    """A task's name, also of one that was given by its path."""
    return Path(task).stem if task.endswith(".py") else task


def is_toy(recipe: str, config: Mapping[str, Any]) -> bool:
    """Whether a run was on made data: what is known of its configuration, by dotted keys, else its recipe tells."""
    made = config["data.synthetic"] if "data.synthetic" in config else recipe.startswith("smoke")
    return bool(made) and config.get("data.root") is None


def small_recipe(recipe: str, config: Mapping[str, Any]) -> str:
    """A line for data of one's own under a recipe that only shows that everything works; else empty."""
    if not recipe.startswith("smoke") or is_toy(recipe, config):
        return ""
    return f"Its recipe, {recipe}, is a small one that shows that everything works; base and larger are for results."
