"""Folders as runs and studies leave them, made by hand: small, whole, and with numbers that a test can tell apart."""

import csv
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from PIL import Image

from maekit.report.document import Block, Document, Table
from maekit.study.define.definition import Definition
from maekit.study.define.space import Choice, cell_name, grid_cells

B = TypeVar("B", bound=Block)
RECIPE = {"optim.lr": 0.001, "optim.layer_decay": 0.75, "data.synthetic": None, "trainer.max_epochs": 10}
STEPS = (10, 20, 30, 40)


def make_run(
    folder: Path,
    *,
    top1: float | None = 90.0,
    seed: int = 0,
    task: str = "flowers",
    recipe: str = "base",
    status: str = "finished",
    changed: dict[str, Any] | None = None,
    monitor: tuple[str, str] = ("top1", "max"),
) -> Path:
    """Writes config.yaml, environment.json, the tables and metrics.json; `changed` are keys given as flags."""
    changed = changed or {}
    folder.mkdir(parents=True)
    config: dict[str, dict[str, Any]] = {"model": {}, "optim": {}, "data": {}, "trainer": {}, "run": {}}
    values = {**RECIPE, "data.num_workers": 2, "run.seed": seed, "run.folder": str(folder.parent), **changed}
    for key, value in values.items():
        section, _, name = key.partition(".")
        config[section][name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    environment = {
        "task": task,
        "recipe": recipe,
        "given": sorted(changed),
        "recipe_values": RECIPE,
        "monitor": [f"val/{monitor[0]}", monitor[1]],
        "total_steps": STEPS[-1],
        "total_batch": 64,
        "started": "2026-01-02T03:04:05+00:00",
        "command": ["/usr/bin/maekit", "fit", "--task", task, "--run.seed", str(seed)],
        "python": "3.11.7",
        "platform": "Linux",
        "versions": {"torch": "2.15.0", "wandb": None},
        "devices": "1 x cpu, precision 32-true",
        "git": {"commit": "abc123", "changed_files": [" M a.py"]},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    write_csv(
        folder / "train.csv",
        [{"step": s, "lr": 1e-3 / s, "images_per_second": 100.0 + s, "loss": 2 / s} for s in STEPS],
    )
    value = 90.0 if top1 is None else top1
    write_csv(
        folder / "val.csv", [{"step": s, monitor[0]: value - 40 + s, "loss": 3 / s, "epoch": s / 10} for s in STEPS]
    )
    metrics = {
        "status": status,
        "step": STEPS[-1],
        "val": {monitor[0]: top1, "loss": 3 / STEPS[-1]},
        "best": {"metric": f"val/{monitor[0]}", "value": value + 0.5, "step": 30},
        "seconds": 7200.0,
        "images_per_second": 123.4,
        "data_share": 0.31,
        "peak_memory_gib": 1.5,
        "sessions": 2,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def add_parts(folder: Path, num_classes: int = 3) -> None:
    """Adds what newer runs have: layers, a confusion, scores of the classes, examples and pictures."""
    write_csv(
        folder / "layers.csv",
        [
            {
                "step": s,
                "layer": layer,
                "lr": 0.1 * layer / s,
                "grad_norm": layer + s,
                "update_ratio": 1e-4 * (layer + 1),
            }
            for s in STEPS
            for layer in range(4)
        ],
    )
    names = [f"class_{at}" for at in range(num_classes)]
    counts = [[100 if a == b else (a * num_classes + b) % 7 for b in range(num_classes)] for a in range(num_classes)]
    (folder / "confusion.json").write_text(json.dumps({"classes": names, "counts": counts}))
    scores = [{"name": name, "value": 90.0 - at, "more": None, "images": 100 + at} for at, name in enumerate(names)]
    scores[0]["value"] = None
    per_class = {"metric": "top1", "more": None, "classes": scores}
    (folder / "per_class.json").write_text(json.dumps(per_class))
    (folder / "examples").mkdir()
    kept = []
    for kind, score in (("best", 0.01), ("worst", 9.5)):
        Image.new("RGB", (16, 16), "navy").save(folder / "examples" / f"{kind}_0.jpg")
        kept.append({"file": f"{kind}_0.jpg", "kind": kind, "score": score, "caption": f"true 3, {kind}"})
    told = {"of": "the first 256 validation images", "score": "loss", "best": "low", "examples": kept}
    (folder / "examples" / "examples.json").write_text(json.dumps(told))
    (folder / "pictures").mkdir()
    for step in (10, 40):
        Image.new("RGB", (16, 16), "teal").save(folder / "pictures" / f"step_{step:07}.png")


def add_targets(folder: Path) -> None:
    """Adds what runs of labels, values and probabilities keep of an evaluation; numbers are None where undefined."""
    scores = [("cat", 0.9, 30), ("dog", 0.4, 3), ("owl", None, 0)]
    labels = [
        {"name": name, "images": images, "ap": ap, "auroc": ap, "f1": ap, "precision": ap, "recall": ap}
        for name, ap, images in scores
    ]
    content = {"threshold": 0.37, "tuned_on": 50, "measured_on": 51, "labels": labels}
    (folder / "labels.json").write_text(json.dumps(content))
    shown = [{"image": at, "true": [at / 10, 1.0], "predicted": [at / 10 + 0.5, 2.0]} for at in range(700)]
    errors = {"mae": 0.5, "rmse": 0.5, "r2": None, "mean": 35.0, "std": 20.0}
    both = [{"name": "age", "unit": "years", **errors}, {"name": "mass", **errors}]
    (folder / "values.json").write_text(json.dumps({"images": 900, "values": both, "shown": shown}))
    bins = [{"low": 0.0, "high": 0.5, "images": 0, "confidence": None, "accuracy": None}]
    bins.append({"low": 0.5, "high": 1.0, "images": 9, "confidence": 0.75, "accuracy": 0.6})
    (folder / "reliability.json").write_text(json.dumps({"calibration_error": 0.15, "bins": bins}))


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a table as a run does."""
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_study(
    folder: Path,
    values: dict[tuple[Any, ...], list[float | None]],
    *,
    axes: dict[str, list[Any]],
    recipe: str = "base",
    task: str = "flowers",
    rungs: tuple[int, ...] = (),
    kept: tuple[tuple[tuple[Any, ...], ...], ...] = (),
) -> Path:
    """Writes study.json of a grid.

    Args:
        folder: the study's.
        values: one value of each key -> the metric of each seed; None for a run that failed.
        axes: key -> its values.
        recipe: the recipe's name.
        task: the task's.
        rungs: steps of successive halving; none for a whole grid.
        kept: the cells that went on from each rung but the last.
    """
    space = tuple(Choice(key, tuple(options)) for key, options in axes.items())
    num_seeds = max(map(len, values.values()))
    definition = Definition(
        name="by_hand",
        task=task,
        recipe=recipe,
        config=(),
        flags=(),
        space=space,
        seeds=tuple(range(num_seeds)),
        sampler="grid",
        num_cells=None,
        pruning="halving" if rungs else "none",
        reduction=3,
        metric="val/top1",
        mode="max",
        max_steps=100,
        num_images=1000,
        fixed={"model.backbone": "vit_b16", "data.total_batch_size": None},
    )
    trials: list[dict[str, Any]] = []
    for cell in grid_cells(space):
        for seed, value in enumerate(values[tuple(cell.values())]):
            trials += _trials(len(trials), cell, seed, value, rungs, kept)
    told = [[dict(zip(axes, cell, strict=True)) for cell in rung] for rung in kept]
    study = {
        "format": 1,
        "definition": definition.as_json(),
        "storage": "sqlite:///study.db",
        "updated": "2026-01-02T03:04:05+00:00",
        "trials": trials,
        "halving": {"rungs": list(rungs), "kept": told} if rungs else None,
    }
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(study))
    return folder


def _trials(
    first: int,
    cell: dict[str, Any],
    seed: int,
    value: float | None,
    rungs: tuple[int, ...],
    kept: tuple[tuple[tuple[Any, ...], ...], ...],
) -> list[dict[str, Any]]:
    """One trial, or with halving one for each rung that its cell came to."""
    found: list[dict[str, Any]] = []
    before = 0
    for rung, step in enumerate(rungs or (100,)):
        goes_on = rung == len(rungs or (100,)) - 1 or tuple(cell.values()) in kept[rung]
        state = "failed" if value is None else "complete" if goes_on else "pruned"
        found.append(
            {
                "number": first + len(found),
                "values": cell,
                "seed": seed,
                "rung": rung if rungs else None,
                "state": state,
                "value": value,
                "best": value,
                "steps": step - before,
                "end_step": step,
                "seconds": 36.0,
                "images_per_second": 500.0,
                "peak_memory_gib": 0.5,
                "folder": f"runs/{cell_name(cell, seed)}",
                "host": "here",
                "reason": {"failed": "loss is NaN", "pruned": f"halving at step {step}"}.get(state),
                "intermediate": {} if value is None else {str(step // 2): value - 10, str(step): value},
            }
        )
        before = step
        if not goes_on:
            break
    return found


def blocks(document: Document, kind: type[B], section: str | None = None) -> list[B]:
    """All blocks of one kind, of one section or of all."""
    return [
        block
        for one in document.sections
        if section is None or one.title == section
        for block in one.blocks
        if isinstance(block, kind)
    ]


def table(document: Document, name: str) -> Table:
    return next(block for block in blocks(document, Table) if block.name == name)
