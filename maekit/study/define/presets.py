"""Presets: what to vary for each task, and where the values are from (`presets.yaml`)."""

import json
from dataclasses import dataclass
from pathlib import Path

from maekit.errors import UserError, nearest
from maekit.recipes.recipe import read_yaml
from maekit.recipes.tasks import Task

PRESETS_FILE = Path(__file__).with_name("presets.yaml")


@dataclass(frozen=True)
class Preset:
    """What one preset varies for one task.

    Attributes:
        name: the value of `--preset`.
        grid: dotted key -> values as text.
        published: whether the whole space was published; else it is ours.
        source: where the values are from, in one line.
    """

    name: str
    grid: dict[str, list[str]]
    published: bool
    source: str


def find_preset(name: str, task: Task) -> Preset:
    """The preset of a task; for a user's own task the entry `any`.

    Raises:
        UserError: no such preset, or none for this task, with the reason.
    """
    presets = read_yaml(PRESETS_FILE)
    if name not in presets:
        raise UserError(f"--preset: unknown preset '{name}'{nearest(name, presets)} (known: {', '.join(presets)})")
    preset = presets[name]
    found = preset.get(task.name, None if task.name in preset else preset.get("any"))
    if isinstance(found, str):
        raise UserError(f"--preset {name}: not for task {task.name}: {found}")
    if found is None:
        raise UserError(f"--preset {name}: nothing is known of task {task.name}; use --grid KEY=V,V,...")
    grid = {key: [v if isinstance(v, str) else json.dumps(v) for v in values] for key, values in found["grid"].items()}
    return Preset(name, grid, bool(found["published"]), " ".join(found["source"].split()))
