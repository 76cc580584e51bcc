"""The paper in small: pre-train once, then fine-tune on each task with and without it, on the same budget.

    python benchmarks/mini_paper.py                                        # pre-trains first, with the smoke recipe
    python benchmarks/mini_paper.py --weights mae_vit_smoke                # from weights that are there
    python benchmarks/mini_paper.py --tasks imagenet_finetune --seeds 2

Each task that has a smoke recipe and is fine-tuned runs with a share of that recipe's steps (a third), once from the
pre-trained weights and once from random ones: the same recipe, data, order of samples, augmentation and steps, for each
of several seeds. Of a task that only evaluates, the two fine-tuned models of the classification task are judged.
Printed are the means and standard deviations of each task's own metric, and whether the difference of the means exceeds
two of its standard errors.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task, shipped_tasks

PRETRAINING, JUDGED, FROM_SCRATCH = "mae_pretrain", "imagenet_finetune", ("imagenet_scratch",)
SIDES = ("pre-trained", "scratch")


class Job(NamedTuple):
    """One run: a task from some weights with one seed, of so large a share of its recipe's length."""

    task: str
    side: str
    seed: int
    weights: str
    share: float
    folder: str


class Outcome(NamedTuple):
    """What a run reached at its end: values by metric, the task's own metric first."""

    values: dict[str, float]
    checkpoint: str
    seconds: float


def families() -> list[str]:
    """Tasks that are fine-tuned from weights, and have a smoke recipe."""
    names = [task.name for task in shipped_tasks() if not task.load().Model.evaluates_only]
    return [name for name in names if name != PRETRAINING and name not in FROM_SCRATCH]


def shortened(task: str, share: float) -> dict[str, Any]:
    """Flags that give a recipe a share of its steps, validated once, at the end."""
    trainer = load_recipe(find_task(task), "smoke").values["trainer"]
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    if steps:
        count = max(round(steps * share), 1)
        return {"trainer.max_steps": count, "trainer.val_check_interval": count}
    count = max(round(epochs * share), 1)
    return {"trainer.max_epochs": count, "trainer.check_val_every_n_epoch": count}


def run(job: Job) -> Outcome:
    """Trains one side of a task; in a process of its own."""
    import maekit

    began = time.perf_counter()
    overrides = {
        "model.weights": job.weights, "run.seed": job.seed, "run.folder": job.folder, "trainer.num_sanity_val_steps": 0,
        **shortened(job.task, job.share),
    }  # fmt: skip
    session = maekit.build(job.task, "smoke", overrides)
    result = session.fit()
    own = session.model.monitor[0]
    values = {own: result["val"][own], **session.model.headlines(result["val"])}
    return Outcome(values, f"{result['folder']}/last.ckpt", time.perf_counter() - began)


def judge(task: str, checkpoint: str) -> dict[str, float]:
    """Evaluates a fine-tuned model on a task that only evaluates."""
    import maekit

    session = maekit.build(task, "smoke", {"model.weights": checkpoint})
    found = session.validate()
    return {session.model.monitor[0]: found[session.model.monitor[0]], **session.model.headlines(found)}


def pretrain(folder: str) -> str:
    """Pre-trains with the smoke recipe; the last weights."""
    import maekit

    return str(maekit.build(PRETRAINING, "smoke", {"run.folder": folder}).fit()["folder"]) + "/last.ckpt"


def compare(values: dict[str, list[float]], better: str) -> dict[str, Any]:
    """Means, standard deviations over seeds, and by how many standard errors the first side is better."""
    first, second = (values[side] for side in SIDES)
    spread = [statistics.stdev(side) if len(side) > 1 else math.nan for side in (first, second)]
    error = math.sqrt(sum(s**2 / len(side) for s, side in zip(spread, (first, second), strict=True)))
    gain = (statistics.mean(first) - statistics.mean(second)) * (1 if better == "max" else -1)
    return {
        "mean": dict(zip(SIDES, map(statistics.mean, (first, second)), strict=True)),
        "std": dict(zip(SIDES, spread, strict=True)),
        "gain": gain,
        "standard_errors": gain / error if error else math.inf * gain,
        "values": values,
    }


def measure(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Runs everything, as many processes at a time as asked; comparisons by task and metric."""
    context = get_context("spawn")
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(args.processes, mp_context=context) as pool:
        weights = args.weights or pool.submit(pretrain, folder).result()
        note(f"pre-trained weights: {weights}")
        jobs = [
            Job(task, side, seed, weights if side == SIDES[0] else "none", args.share, folder)
            for task in args.tasks for seed in range(args.seeds) for side in SIDES
        ]  # fmt: skip
        outcomes = {}
        for job, outcome in zip(jobs, pool.map(run, jobs), strict=True):
            outcomes[job] = outcome
            note(f"{job.task} {job.side} seed {job.seed}: {shown(outcome.values)} in {outcome.seconds:.0f} s")
        for task in args.tasks:
            by_side = {side: [outcomes[j].values for j in jobs if (j.task, j.side) == (task, side)] for side in SIDES}
            found[task] = by_side
        if JUDGED in args.tasks:
            for task in (t.name for t in shipped_tasks() if t.load().Model.evaluates_only):
                tuned = [job for job in jobs if job.task == JUDGED]
                judged = list(pool.map(judge, [task] * len(tuned), [outcomes[job].checkpoint for job in tuned]))
                found[task] = {s: [v for j, v in zip(tuned, judged, strict=True) if j.side == s] for s in SIDES}
    return found


def shown(values: dict[str, float]) -> str:
    """Values in a line."""
    return " ".join(f"{name} {value:.2f}" for name, value in values.items())


def note(line: str) -> None:
    """Says how far it is."""
    print(line, file=sys.stderr, flush=True)


def report(found: dict[str, Any]) -> dict[str, Any]:
    """Prints a table in Markdown, and returns all numbers."""
    print(f"| task | metric | {SIDES[0]} | {SIDES[1]} | gain | in standard errors | more than two |")
    print("|---|---|---|---|---|---|---|")
    result: dict[str, Any] = {}
    for task, sides in found.items():
        metric, better = find_task(task).load().Model.monitor
        for name in dict.fromkeys((metric, *sides[SIDES[0]][0])):
            if name == "loss" and metric != "loss":
                continue
            lower = name.endswith(("error", "alexnet", "loss"))
            values = {side: [found[name] for found in sides[side]] for side in SIDES}
            row = compare(values, "min" if lower or (name == metric and better == "min") else "max")
            result.setdefault(task, {})[name] = row
            cells = [f"{row['mean'][side]:.2f} ± {row['std'][side]:.2f}" for side in SIDES]
            cells += [
                f"{row['gain']:+.2f}",
                f"{row['standard_errors']:.1f}",
                "yes" if row["standard_errors"] > 2 else "**no**",
            ]
            print(f"| `{task}` | {name} | {' | '.join(cells)} |")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="start from these instead of pre-training first")
    parser.add_argument("--tasks", nargs="+", default=families(), choices=families())
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--share", type=float, default=1 / 3, help="of the smoke recipes' steps")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="runs at a time, each with one thread"
    )
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args()
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        found = measure(args, folder)
    result = {"settings": vars(args), "tasks": report(found), "minutes": (time.perf_counter() - began) / 60}
    print(f"\n{result['minutes']:.1f} minutes, {args.processes} processes")
    if args.output:
        args.output.write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
