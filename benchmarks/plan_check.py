"""Holds `maekit plan` against what runs do, on this machine's CPU.

    python benchmarks/plan_check.py memory --recipe base [--task coco_maskrcnn]
    python benchmarks/plan_check.py time --recipe smoke [--task imagenet_finetune]

`memory` counts the activations that a real forward pass in fp32 saves (without drop path, which on a CPU leaves out
branches at random) and prints them beside the plan's. `time` runs 60 steps and prints the median step of their last
half beside the plan's, made right before and right after, since other programs on the machine change both.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch
from torch.utils._pytree import tree_leaves

from maekit.planning.ledger import Ledger
from maekit.planning.memory import build_on_meta
from maekit.planning.step import count_step, fake
from maekit.planning.target import Target
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import shipped_tasks


def check_memory(task: str, recipe: str) -> None:
    """Prints planned and counted bytes of saved activations of one or two images."""
    found = next(known for known in shipped_tasks() if known.name == task)
    stacked, module = load_recipe(found, recipe), found.load()
    flags = ["--model.weights", "none", *(["--model.drop_path", "0"] if "drop_path" in stacked.values["model"] else [])]
    settings = resolve(stacked, module, flags, training=True)
    spec = module.Data(**settings.values["data"]).assumed_spec()
    images = 1 if spec.image_size[0] > 1000 else 2
    model = build_on_meta(module, spec, settings.values["model"])
    with fake(model):
        planned = count_step(model, images, Target("cpu", "32-true")).saved
    model = module.Model.build(spec, settings.values["model"]).train()
    batch = model.drawn(model.example_batch(images))
    given = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor)]
    with Ledger([*given, *model.parameters(), *model.buffers()], model.parameters()) as ledger:
        model.training_losses(batch)
        saved = ledger.saved()
    row = f"| {task} | {recipe} | {images} | {planned / 2**20:.1f} | {saved / 2**20:.1f} | {planned / saved - 1:+.2%} |"
    print(row, flush=True)


def check_time(task: str, recipe: str) -> None:
    """Prints planned and measured seconds of a step."""
    before = _planned(task, recipe)
    with tempfile.TemporaryDirectory() as folder:
        run = f"fit --task {task} --recipe {recipe} --trainer.max_steps 60 --trainer.log_every_n_steps 5 --run.folder"
        flags = ["--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1"]
        _maekit(*run.split(), folder, *flags)
        table = next(Path(folder).rglob("train.csv"))
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
    rows = rows[len(rows) // 2 :]
    total = resolve_total(task, recipe)
    whole = [total / float(row["images_per_second"]) for row in rows]
    waited = [float(row["data_share"] or 0) for row in rows]
    seen = median(seconds * (1 - share) for seconds, share in zip(whole, waited, strict=True))
    after = _planned(task, recipe)
    planned = (before + after) / 2
    print(f"| {task} | {recipe} | {before:.3f} | {after:.3f} | {seen:.3f} | {planned / seen - 1:+.0%} |", flush=True)


def resolve_total(task: str, recipe: str) -> int:
    """Returns the recipe's total batch."""
    found = next(known for known in shipped_tasks() if known.name == task)
    return int(load_recipe(found, recipe).values["data"]["total_batch_size"])


def _planned(task: str, recipe: str) -> float:
    text = _maekit("plan", "--task", task, "--recipe", recipe, "--devices", "1xcpu", "--json")
    plan = json.loads(text)
    size = max(setting["batch"]["device_batch"] for setting in plan["settings"] if not setting["recompute"])
    found = (s for s in plan["settings"] if s["batch"]["device_batch"] == size and not s["recompute"])
    return float(next(found)["seconds"])


def _maekit(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "maekit", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    """Prints one row for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "time"])
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--task", action="append")
    args = parser.parse_args()
    for task in shipped_tasks():
        chosen = not args.task or task.name in args.task
        if chosen and "optim" in load_recipe(task, "smoke").values:
            (check_memory if args.what == "memory" else check_time)(task.name, args.recipe)


if __name__ == "__main__":
    main()
