"""How reports write settings and tasks."""

from collections.abc import Mapping
from pathlib import Path

from maekit.study.define.space import short_value

TOY = "on a toy, not the paper's data: nothing here says anything about published numbers"


def setting(value: object) -> str:
    """A value as it would stand on one line of a recipe: `null`, `true`, `1e-4`, `[0.9,0.95]`."""
    try:
        return short_value(value)
    except TypeError:  # what YAML has beyond JSON, such as a date
        return str(value)


def task_name(task: str) -> str:
    """A task's name, also of one that was given by its path."""
    return Path(task).stem if task.endswith(".py") else task


def is_toy(recipe: str, config: Mapping[str, object]) -> bool:
    """Whether a run was on made data: what is known of its configuration, by dotted keys, else its recipe tells."""
    made = config["data.synthetic"] if "data.synthetic" in config else recipe.startswith("smoke")
    return bool(made) and config.get("data.root") is None and config.get("data.table") is None


def small_recipe(recipe: str, config: Mapping[str, object]) -> str:
    """A line for data of one's own under a recipe that only shows that everything works; else empty."""
    if not recipe.startswith("smoke") or is_toy(recipe, config):
        return ""
    return f"Its recipe, {recipe}, is a small one that shows that everything works; base and larger are for results."
