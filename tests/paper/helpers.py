"""Hand-made run folders, as a finished run of a shipped recipe leaves them."""

import json
from pathlib import Path
from typing import Any

import yaml

from maekit.recipes.recipe import flat, load_recipe, stack
from maekit.recipes.tasks import find_task


def make_run(
    folder: Path,
    task: str,
    recipe: str,
    val: dict[str, Any],
    *,
    seed: int = 0,
    weights: str | None = None,
    changed: dict[str, Any] | None = None,
    classes: int = 1000,
    status: str = "finished",
    pretraining: str | None = None,
    **metrics: Any,
) -> Path:
    """Writes config.yaml, environment.json, metrics.json and classes.txt; `changed` are dotted keys."""
    folder.mkdir(parents=True)
    values = load_recipe(find_task(task), recipe).values
    config = stack(values, {"run": {"seed": seed, "folder": "runs"}, "data": {"root": "/data", "num_workers": 4}})
    for key, value in {"model.weights": weights, "trainer.limit_val_batches": None, **(changed or {})}.items():
        section, _, name = key.partition(".")
        config = stack(config, {section: {name: value}})
    environment = {
        "task": task,
        "recipe": recipe,
        "given": sorted(changed or {}),
        "recipe_values": dict(flat(values)),
        "monitor": [f"val/{next(iter(val))}", "max"],
        "folder": str(folder.parent),
        **({"pretraining": pretraining} if pretraining else {}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.json").write_text(json.dumps({"status": status, "val": val, **metrics}))
    (folder / "classes.txt").write_text("".join(f"class {i}\n" for i in range(classes)))
    return folder
