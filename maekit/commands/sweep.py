"""`maekit sweep`: a study, that is one recipe run over lists of values and seeds."""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.commands.shared.flags import add_recipe_arguments
from maekit.errors import UserError, nearest
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.study.define.presets import Preset, find_preset
from maekit.study.define.space import cell_name, flags_of
from maekit.study.results import cell_results, full_grid_steps, spent_steps
from maekit.study.saved import Study
from maekit.study.text_table import text_table

if TYPE_CHECKING:
    from maekit.study.define.definition import Definition

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command; all others are the task's own, and every run is given them."""
    add_recipe_arguments(parser)
    vary = parser.add_argument_group("what to vary")
    many: dict[str, Any] = {"action": "append", "default": []}
    vary.add_argument("--grid", metavar="KEY=V,V,...", **many, help="values of a key; lists in brackets: [0.9,0.95]")
    vary.add_argument("--range", metavar="KEY=LOW:HIGH[:log]", **many, help="for --sampler random and tpe")
    vary.add_argument(
        "--preset", help="layer_decay, or paper: what the papers searched; --grid of a key replaces its list"
    )
    vary.add_argument("--seeds", default="3", metavar="N | S,S,...", help="seeds 0 to N-1, or these; default: 3")
    vary.add_argument("--sampler", default="grid", choices=("grid", "random", "tpe"), help="default: grid, all cells")
    vary.add_argument("--trials", type=int, metavar="N", help="cells to draw, for --sampler random and tpe")
    vary.add_argument("--pruner", default="none", choices=("none", "median", "halving"), help="stop what falls behind")
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
    """Runs a study, or goes on with it, and prints its table."""
    if args.help:
        parser.print_help()
        print("\nAll other flags are the task's own, and every run is given them: maekit fit --task TASK --help")
        return 0
    _check(args, flags, parser)
    task = find_task(args.task)
    preset = find_preset(args.preset, task) if args.preset else None
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
        _say(f"preset  {preset.name}: {preset.source}")
    study = run_study(
        definition,
        folder,
        args.storage,
        slots(args.parallel),
        join=args.join,
        only=args.trial,
        retry_failed=args.retry_failed,
        say=_say,
    )
    print(json.dumps(as_json(study)) if args.json else "\n".join(text_table(study)))
    return 0 if any(result.num_finished for result in cell_results(study)) else 1


def as_json(study: Study) -> dict[str, Any]:
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


def seeds_of(given: str) -> tuple[int, ...]:
    """The seeds that `--seeds` means: `3` is 0, 1 and 2; `0,5` is those two, and `5,` is one.

    Raises:
        UserError: none, a negative one, or one twice.
    """
    wanted = f"--seeds: got '{given}', expected how many (3) or which (0,1,2), each 0 or more and none twice"
    words = [word.strip() for word in given.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UserError(wanted)
    seeds = tuple(map(int, words)) if "," in given else tuple(range(int(given)))
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(wanted)
    return seeds


def _check(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> None:
    """Refuses flags that exclude each other, before torch is imported."""
    own = [action.option_strings[0] for action in parser._actions if action.option_strings]
    for flag in flags:
        name = flag.split("=")[0]
        if name.startswith("--") and "." not in name:
            raise UserError(f"unknown flag '{name}'{nearest(name, own)}")
    seeds_of(args.seeds)
    if args.name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=,-]*", args.name):
        raise UserError(f"--name: got '{args.name}', expected a folder's name of letters, digits and ._+=,-")
    if args.reduction < 2:
        raise UserError(f"--reduction: got {args.reduction}, expected 2 or more")
    drawn = args.sampler != "grid"
    if drawn and (args.trials or 0) < 1:
        raise UserError(f"--sampler {args.sampler} draws cells without end; say how many: --trials 20")
    if not drawn and args.trials is not None:
        raise UserError("--trials: a grid has all its cells; use it with --sampler random or tpe")
    if args.sampler == "tpe" and args.pruner == "halving":
        raise UserError(
            "--pruner halving begins all cells at once, and tpe draws each after the last; use --sampler random"
        )
    if args.trial is not None and (args.trial < 0 or drawn or args.pruner != "none" or args.join):
        raise UserError("--trial K runs the K-th run of a whole grid, from 0: no --sampler, no --pruner, no --join")


def _define(args: argparse.Namespace, flags: list[str], preset: Preset | None) -> "Definition":
    """The checked definition; imports torch."""
    recipe = load_recipe(find_task(args.task), args.recipe, args.config)
    from maekit.study.define.define import Request, define

    request = Request(
        recipe=recipe,
        config=tuple(str(file.absolute()) for file in args.config),
        flags=tuple(flags),
        grids=tuple(args.grid),
        ranges=tuple(args.range),
        preset=preset,
        seeds=seeds_of(args.seeds),
        sampler=args.sampler,
        num_cells=args.trials,
        pruning=args.pruner,
        reduction=args.reduction,
        name=args.name,
    )
    return define(request, recipe.task.load())


def _print_runs(args: argparse.Namespace, definition: "Definition", preset: Preset | None, folder: Path) -> int:
    """Lists the runs of a study with their steps."""
    runs = definition.runs()
    chosen = runs if args.trial is None else [runs[args.trial]]
    rows = [(cell_name(cell, seed), cell, seed, definition.steps_of(cell)) for cell, seed in chosen]
    total = sum(row[3] for row in rows) if rows else definition.full_steps()
    if args.json:
        listed = [
            {"name": name, "values": cell, "seed": seed, "steps": steps, "flags": flags_of(cell, seed)}
            for name, cell, seed, steps in rows
        ]
        about = {"folder": str(folder), "definition": definition.as_json(), "source": preset.source if preset else None}
        print(json.dumps({**about, "runs": listed, "total_steps": total}))
        return 0
    by = f"{definition.metric} ({definition.mode})"
    print(f"study   {definition.name}: {definition.task}, recipe {definition.recipe}, {by}")
    print(f"folder  {folder}")
    if preset:
        print(f"preset  {'published' if preset.published else 'not published as such'}: {preset.source}")
    for name, _, _, steps in rows:
        print(f"{steps:>10,} steps  {name}")
    count = f"cells {definition.total_cells} x seeds {len(definition.seeds)}" if args.trial is None else "one run"
    print(f"{total:>10,} steps in all, {count}{_less(definition)}")
    return 0


def _less(definition: "Definition") -> str:
    """How many steps pruning leaves of a study, where that is known beforehand."""
    if definition.pruning != "halving":
        return "; --pruner median does fewer" if definition.pruning == "median" else ""
    from maekit.study.queue.plans import num_kept, rung_steps

    left, steps, before = definition.total_cells, 0, 0
    for rung in rung_steps(definition.max_steps, left, definition.reduction):
        steps += left * (rung - before) * len(definition.seeds)
        left, before = num_kept(left, definition.reduction), rung
    return f"; halving does {steps:,}, {100 * steps / definition.full_steps():.0f} %"


def _print_script(args: argparse.Namespace, flags: list[str], definition: "Definition", folder: Path) -> int:
    from maekit.study.work.slurm import script

    text = script(definition, _words(args, flags, folder), folder.absolute(), args.storage, args.parallel)
    print(json.dumps({"script": text}) if args.json else text, end="\n" if args.json else "")
    return 0


def _words(args: argparse.Namespace, flags: list[str], folder: Path) -> list[str]:
    """This command again, without what is said of machines."""
    words = ["maekit", "sweep", "--task", args.task, "--output", str(folder.absolute())]
    for name in ("recipe", "preset", "trials", "name"):
        if getattr(args, name) is not None:
            words += [f"--{name}", str(getattr(args, name))]
    for name, default in (("seeds", "3"), ("sampler", "grid"), ("pruner", "none"), ("reduction", 4)):
        if getattr(args, name) != default:
            words += [f"--{name}", str(getattr(args, name))]
    for name, values in (("config", args.config), ("grid", args.grid), ("range", args.range)):
        for value in values:
            words += [f"--{name}", str(value.absolute() if name == "config" else value)]
    return [*words, *flags]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
