"""`maekit sweep`: a study, which trains one recipe over lists of values and seeds."""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.examples import print_help
from maekit.commands.shared.flags import add_recipe_arguments
from maekit.errors import UserError, nearest
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import Task, find_task
from maekit.study.define.presets import Preset, find_preset
from maekit.study.define.space import cell_name, flags_of
from maekit.study.results import cell_results, full_grid_steps, spent_steps
from maekit.study.saved import Study
from maekit.study.text_table import text_table
from maekit.study.work.forks import ForkServer

if TYPE_CHECKING:
    from maekit.study.define.definition import Definition

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command; all others are the task's own and go to every run."""
    add_recipe_arguments(parser)
    vary = parser.add_argument_group("what to vary")
    grid_help = "values of a key; lists in brackets: [0.9,0.95]"
    vary.add_argument("--grid", metavar="KEY=V,V,...", action="append", default=[], help=grid_help)
    range_help = "for --sampler random and tpe"
    vary.add_argument("--range", metavar="KEY=LOW:HIGH[:log]", action="append", default=[], help=range_help)
    vary.add_argument(
        "--preset", help="layer_decay, or paper: what the papers searched; --grid of a key replaces its list"
    )
    seeds_help = "seeds 0 to N-1, or these; default: 3, or 1 with --folds"
    vary.add_argument("--seeds", metavar="N | S,S,...", help=seeds_help)
    folds_help = "train each cell on each of K folds (data.fold 1/K ... K/K), and rank by the mean over them"
    vary.add_argument("--folds", type=int, metavar="K", help=folds_help)
    vary.add_argument("--sampler", default="grid", choices=("grid", "random", "tpe"), help="default: grid, all cells")
    vary.add_argument("--trials", type=int, metavar="N", help="cells to sample, for --sampler random and tpe")
    vary.add_argument(
        "--pruner", default="none", choices=("none", "median", "halving"), help="stop bad cells or runs early"
    )
    vary.add_argument("--reduction", type=int, default=4, metavar="N", help="halving keeps one cell in N; default: 4")
    where = parser.add_argument_group("where it runs")
    where.add_argument("--output", type=Path, metavar="DIR", help="default: studies/<task>/<recipe>/<name>")
    where.add_argument("--name", help="the study's name; default: its preset's, or its keys")
    where.add_argument("--storage", metavar="URL", help="postgresql://USER:PASSWORD@HOST/DATABASE; default: SQLite")
    where.add_argument("--join", action="store_true", help="work with others on a study that is running")
    where.add_argument("--parallel", default="1", help="runs at once: 1, 2, cpu:2 or cuda:0,1,3")
    where.add_argument("--retry_failed", action="store_true", help="run those again that failed before")
    where.add_argument("--trial", type=int, metavar="K", help="only the grid's K-th run, from 0")
    where.add_argument("--slurm", action="store_true", help="print a SLURM array script, and run nothing")
    where.add_argument("--dry_run", action="store_true", help="list the runs and their steps, and run nothing")
    where.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-h", "--help", action="store_true", help="this help")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Runs or resumes a study and prints its table. Returns 1 if no run finished, else 0."""
    if args.help:
        print_help(parser, "All other flags are the task's own, and go to every run: maekit fit --task TASK --help")
        return 0
    _check(args, flags)
    task = find_task(args.task)
    preset = find_preset(args.preset, task) if args.preset else None
    server = ForkServer(task.given_as)
    try:
        if not args.slurm and not args.dry_run and "torch" not in sys.modules:
            server.begin()  # it imports what runs need, while this process imports what looks at flags and data
        return _study(args, flags, task, preset, server)
    finally:
        server.close()


def _study(args: argparse.Namespace, flags: list[str], task: Task, preset: Preset | None, server: ForkServer) -> int:
    """Defines a study, then prints its script or its runs, or runs it. Returns the exit status."""
    definition = _define(args, flags, preset)
    folder = args.output or Path("studies", task.name, definition.recipe, definition.name)
    if args.slurm:
        return _print_script(args, flags, definition, folder)
    if args.trial is not None and args.trial >= len(definition.runs()):
        raise UserError(
            f"--trial: got {args.trial}, expected 0 to {len(definition.runs()) - 1}: the study has no more runs"
        )
    if args.dry_run:
        return _print_runs(args, definition, preset, folder)
    from maekit.study.work.devices import slots
    from maekit.study.work.engine import run_study

    if preset:
        _print_progress(f"preset  {preset.name}: {preset.source}")
    study = run_study(
        definition,
        folder,
        args.storage,
        slots(args.parallel),
        join=args.join,
        only=args.trial,
        retry_failed=args.retry_failed,
        say=_print_progress,
        server=server,
    )
    print(json.dumps(as_json(study)) if args.json else "\n".join(text_table(study)))
    return 0 if any(result.num_finished for result in cell_results(study)) else 1


def as_json(study: Study) -> dict[str, object]:
    """A study's ranking, trials and cost as plain values."""
    return {
        "folder": str(study.folder),
        "definition": study.definition.as_json(),
        "cells": [asdict(result) for result in cell_results(study)],
        "trials": list(study.trials),
        "halving": study.halving,
        "spent_steps": spent_steps(study),
        "full_grid_steps": full_grid_steps(study),
    }


def _seeds(args: argparse.Namespace) -> str:
    return str(args.seeds or ("1" if args.folds else "3"))


def seeds_of(text: str) -> tuple[int, ...]:
    """Parses `--seeds`: `3` is 0, 1 and 2; `0,5` is those two; `5,` is one seed.

    Raises:
        UserError: no seed, a negative one, or one twice.
    """
    expected = f"--seeds: got '{text}', expected how many (3) or which (0,1,2), each 0 or more and none twice"
    numbers = [number.strip() for number in text.split(",") if number.strip()]
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise UserError(expected)
    seeds = tuple(map(int, numbers)) if "," in text else tuple(range(int(text)))
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(expected)
    return seeds


def _check(args: argparse.Namespace, flags: list[str]) -> None:
    """Refuses unknown flags and flags that exclude each other, before torch is imported."""
    for flag in flags:
        name = flag.split("=")[0]
        if name.startswith("--") and "." not in name:
            raise UserError(f"unknown flag '{name}'{nearest(name, [f'--{own}' for own in vars(args)])}")
    seeds_of(_seeds(args))
    if args.folds is not None and args.folds < 2:
        raise UserError(f"--folds: got {args.folds}, expected 2 or more")
    if args.folds and args.pruner == "median":
        raise UserError(
            "--pruner median compares single runs, and folds differ in difficulty; use halving, which compares cells "
            "by their mean over the folds, or none"
        )
    if args.name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=,-]*", args.name):
        raise UserError(f"--name: got '{args.name}', expected a folder's name of letters, digits and ._+=,-")
    if args.reduction < 2:
        raise UserError(f"--reduction: got {args.reduction}, expected 2 or more")
    sampled = args.sampler != "grid"
    if sampled and (args.trials or 0) < 1:
        raise UserError(f"--sampler {args.sampler} samples cells without end; say how many: --trials 20")
    if not sampled and args.trials is not None:
        raise UserError("--trials: a grid runs all of its cells; use it with --sampler random or tpe")
    if args.sampler == "tpe" and args.pruner == "halving":
        raise UserError(
            "--pruner halving starts all cells at once, and tpe samples each after the others; use --sampler random"
        )
    if args.trial is not None and (args.trial < 0 or sampled or args.pruner != "none" or args.join):
        raise UserError("--trial K runs the K-th run of a whole grid, from 0: no --sampler, no --pruner, no --join")


def _define(args: argparse.Namespace, flags: list[str], preset: Preset | None) -> "Definition":
    """Checks the arguments against the task; imports torch."""
    recipe = load_recipe(find_task(args.task), args.recipe, args.config)
    from maekit.study.define.define import Request, define

    request = Request(
        recipe=recipe,
        config=tuple(str(file.absolute()) for file in args.config),
        flags=tuple(flags),
        grids=tuple(args.grid),
        ranges=tuple(args.range),
        preset=preset,
        seeds=seeds_of(_seeds(args)),
        sampler=args.sampler,
        num_cells=args.trials,
        pruning=args.pruner,
        reduction=args.reduction,
        name=args.name,
        folds=args.folds,
    )
    return define(request, recipe.task.load())


def _print_runs(args: argparse.Namespace, definition: "Definition", preset: Preset | None, folder: Path) -> int:
    """Lists the runs of a study with their steps."""
    runs = definition.runs() if args.trial is None else [definition.runs()[args.trial]]
    rows = [(cell_name(cell, *repeat), cell, repeat, definition.steps_of(cell)) for cell, repeat in runs]
    total = sum(row[3] for row in rows) if rows else definition.full_steps()
    if args.json:
        listed = [
            {"name": name, "values": cell, **repeat._asdict(), "steps": steps, "flags": flags_of(cell, *repeat)}
            for name, cell, repeat, steps in rows
        ]
        source = preset.source if preset else None
        study = {"folder": str(folder), "definition": definition.as_json(), "source": source}
        print(json.dumps({**study, "runs": listed, "total_steps": total}))
        return 0
    metric = f"{definition.metric} ({definition.mode})"
    print(f"study   {definition.name}: {definition.task}, recipe {definition.recipe}, {metric}")
    print(f"folder  {folder}")
    if preset:
        print(f"preset  {'published' if preset.published else 'not published as such'}: {preset.source}")
    for name, _, _, steps in rows:
        print(f"{steps:>10,} steps  {name}")
    count = f"cells {definition.total_cells} x seeds {len(definition.seeds)}"
    count += f" x folds {definition.folds}" if definition.folds else ""
    print(f"{total:>10,} steps in all, {count if args.trial is None else 'one run'}{_steps_with_pruning(definition)}")
    return 0


def _steps_with_pruning(definition: "Definition") -> str:
    """How many of the steps a pruner leaves; only halving knows that beforehand."""
    if definition.pruning != "halving":
        return "; --pruner median does fewer" if definition.pruning == "median" else ""
    from maekit.study.queue.plans import num_kept, rung_steps

    left, steps, before = definition.total_cells, 0, 0
    for rung in rung_steps(definition.max_steps, left, definition.reduction):
        steps += left * (rung - before) * len(definition.repeats)
        left, before = num_kept(left, definition.reduction), rung
    return f"; halving does {steps:,}, {100 * steps / definition.full_steps():.0f} %"


def _print_script(args: argparse.Namespace, flags: list[str], definition: "Definition", folder: Path) -> int:
    from maekit.study.work.slurm import script

    text = script(definition, _command(args, flags, folder), folder.absolute(), args.storage, args.parallel)
    print(json.dumps({"script": text}) if args.json else text, end="\n" if args.json else "")
    return 0


def _command(args: argparse.Namespace, flags: list[str], folder: Path) -> list[str]:
    """This command with absolute paths, without the flags about the database and the machine."""
    command = ["maekit", "sweep", "--task", args.task, "--output", str(folder.absolute())]
    for name in ("recipe", "preset", "trials", "name", "seeds", "folds"):
        if getattr(args, name) is not None:
            command += [f"--{name}", str(getattr(args, name))]
    for name, default in (("sampler", "grid"), ("pruner", "none"), ("reduction", 4)):
        if getattr(args, name) != default:
            command += [f"--{name}", str(getattr(args, name))]
    for name, values in (("config", args.config), ("grid", args.grid), ("range", args.range)):
        for value in values:
            command += [f"--{name}", str(value.absolute() if name == "config" else value)]
    return [*command, *flags]


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
