"""How near `maekit lr-find` comes to the best of a sweep on smoke recipes.

    python benchmarks/lr_find_check.py sweep imagenet_finetune --steps 172 --output lr_check
    python benchmarks/lr_find_check.py find imagenet_finetune --output lr_check
    python benchmarks/lr_find_check.py table --output lr_check

`sweep` trains at the recipe's rate times 2^-3 to 2^2 (six rates, five octaves), with each seed, on a shortened schedule
with a tenth of its steps as warm-up, and keeps every run's validation in DIR/sweep_TASK.json; a sweep that was cut goes
on. `find` runs the range test with each seed and keeps its curves in DIR/find_TASK.json. `table` compares.
"""

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import maekit
from maekit.recipes.tasks import find_task
from maekit.system.files import write_json

OCTAVES = range(-3, 3)
SHORTER: dict[str, dict[str, object]] = {
    "mae_pretrain": {"data.probe_root": None},
    "imagenet_linprobe": {"model.cached_features": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sweep", "find", "table"])
    parser.add_argument("task", nargs="?")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    if args.what == "sweep":
        sweep(args.task, args.steps, args.seeds, args.output)
    elif args.what == "find":
        find(args.task, args.seeds, args.output)
    else:
        for file in sorted(args.output.glob("sweep_*.json")):
            print(compared(file.stem.removeprefix("sweep_"), args.output))


def sweep(task: str, steps: int, seeds: int, output: Path) -> None:
    """Trains at each rate with each seed."""
    file = output / f"sweep_{task}.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    key, rate = recipe_rate(task)
    for seed in range(seeds):
        for octave in OCTAVES:
            if any((row["seed"], row["octave"]) == (seed, octave) for row in rows):
                continue
            began = time.monotonic()
            values = {f"optim.{key}": rate * 2.0**octave, "run.seed": seed, **shortened(task, steps, output)}
            result = maekit.build(task, "smoke", values).fit()
            took = round(time.monotonic() - began, 1)
            row = {"seed": seed, "octave": octave, "rate": rate * 2.0**octave, "steps": steps, "seconds": took}
            rows.append({**row, "val": result["val"]})
            write_json(file, rows)
            print(rows[-1], flush=True)
            shutil.rmtree(result["folder"])


def shortened(task: str, steps: int, output: Path) -> dict[str, object]:
    """The schedule in so many steps, validated once, as it ends."""
    return {
        "trainer.max_steps": steps, "trainer.max_epochs": None, "optim.warmup_epochs": None,
        "optim.warmup_steps": steps // 10, "trainer.val_check_interval": None, "trainer.check_val_every_n_epoch": 10**6,
        "run.folder": str(output / "runs"), **SHORTER.get(task, {}),
    }  # fmt: skip


def recipe_rate(task: str) -> tuple[str, float]:
    """Which of base_lr and lr the recipe has, and its value."""
    optim = maekit.build(task, "smoke", SHORTER.get(task, {})).settings.values["optim"]
    key = "lr" if optim["base_lr"] is None else "base_lr"
    return key, float(optim[key])


def find(task: str, seeds: int, output: Path) -> None:
    """Runs the range test with each seed, and keeps the suggestions and every step."""
    found = []
    for seed in range(seeds):
        curve = maekit.build(task, "smoke", {"run.seed": seed, **SHORTER.get(task, {})}).lr_find()
        steps = [(step.rate, step.loss) for step in curve.steps]
        found.append({"seed": seed, "recipe": curve.own, "suggestion": curve.suggestion(), "steps": steps})
    write_json(output / f"find_{task}.json", found)


def compared(task: str, output: Path) -> str:
    """A row of a table: the sweep's best by the recipe's monitor, and each suggestion, as multiples of the recipe's."""
    rows = json.loads((output / f"sweep_{task}.json").read_text())
    found = json.loads((output / f"find_{task}.json").read_text())
    metric, mode = find_task(task).load().Model.monitor
    means = {
        octave: statistics.mean(row["val"][metric] for row in rows if row["octave"] == octave)
        for octave in sorted({row["octave"] for row in rows})
    }
    best = (max if mode == "max" else min)(means, key=means.__getitem__)
    values = ", ".join(f"{value:.4g}" for value in means.values())
    tests = [one["suggestion"] / one["recipe"] for one in found if one["suggestion"]]
    far = [max(test / 2.0**best, 2.0**best / test) for test in tests]
    suggested = ", ".join(f"{test:.2g}" for test in tests)
    return f"| `{task}` | {metric}: {values} | {2.0**best:g} | {suggested} | {', '.join(f'{one:.1f}' for one in far)} |"


if __name__ == "__main__":
    main()
