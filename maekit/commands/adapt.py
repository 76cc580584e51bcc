"""`maekit adapt`: go on with a pre-training on your own images, and say whether it was worth it."""

import argparse
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.session import ending_together
from maekit.errors import UserError
from maekit.recipes.flag_value import flag_value
from maekit.recipes.recipe import load_recipe, recipe_names
from maekit.recipes.tasks import Task, find_task, shipped_tasks
from maekit.runs.checkpoint_path import find_checkpoint
from maekit.runs.folder import shown
from maekit.system import parent
from maekit.system.files import write_json
from maekit.system.numbers import plural
from maekit.system.rank import rank
from maekit.system.terminal import say, say_all

if TYPE_CHECKING:
    from maekit.api import Session
    from maekit.pretraining.going_on import Start

FORWARDS = True
RECIPE, DECODER = "adapt", "-decoder"
LARGEST = 256  # images of a total batch, where the recipe's would be more than there are


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the images, --weights and what judges the outcome; flags of the pre-training are passed on."""
    parser.add_argument("images", type=Path, metavar="IMAGES", help="a folder of images, at any depth")
    parser.add_argument(
        "--weights", required=True, help="what to go on from: a file, a run's folder, a name such as mae_vit_base_full"
    )
    parser.add_argument(
        "--labels",
        metavar="DIR",
        help="some labelled images in class folders, by which features are judged (`digits`: handwritten digits); "
        "default: IMAGES, where it has class folders",
    )
    parser.add_argument("--task", help="the pre-training; default: the task that has the recipe")
    parser.add_argument("--recipe", default=RECIPE, help=f"its recipe; default: {RECIPE}")
    parser.add_argument("--config", type=Path, action="append", default=[], help="your own YAML on top")
    parser.add_argument(
        "--decoder_epochs",
        type=int,
        default=10,
        help="how long a fresh decoder is trained first, the encoder frozen, where the weights have none; default: 10",
    )
    parser.add_argument(
        "--min_gain",
        type=float,
        default=3.0,  # seeds of one adaptation differed by 1.7 points, where nothing was to be gained
        metavar="POINTS",
        help="k-NN top-1 that new weights must have more to be worth having, in percentage points; default: 3",
    )
    parser.add_argument("--ckpt_path", help="the run to go on with, after Ctrl-C: its folder")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Adapts, judges, and says which weights to use; returns the exit status."""
    parent.watch()
    _check(args)
    with ending_together():
        from maekit.pretraining.going_on import labelled_images, start_of

        labels = labelled_images(args.images, args.labels)

        start = start_of(args.weights)
    say_all([f"start   {args.weights}: {start.describe()}", *(f"        {line}" for line in start.lines)])
    name, resumed = _name(args, flags)
    from maekit.recipes.overrides import as_flags

    own = [*as_flags(start.settings), f"--data.root={args.images}", f"--data.probe_root={labels}"]
    weights = start.path
    if not start.has_decoder:
        weights = _warm_up(args, [*own, *flags], start, name, resumed)
    session = _session(args, [*own, *flags, f"--model.weights={weights}", f"--run.name={name}"])
    before = _judged(session, start.path)
    path = resumed if resumed is not None and resumed.parent.name == name else None
    result = session.fit(path, words=sys.argv[1:])
    if result["status"] == "finished":
        _say_outcome(args, session, before, Path(result["folder"]))
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.images.expanduser().is_dir():
        raise UserError(f"{args.images}: no such folder, expected one of images; give the folder to adapt to")
    if args.decoder_epochs < 1:
        raise UserError(f"--decoder_epochs: got {args.decoder_epochs}, expected 1 or more")
    if not 0 <= args.min_gain < 100:
        raise UserError(f"--min_gain: got {args.min_gain:g}, expected 0 or more percentage points, below 100")


def _task(args: argparse.Namespace) -> Task:
    """The task that was given, else the one with a recipe for this."""
    if args.task is not None:
        return find_task(args.task)
    return next(task for task in shipped_tasks() if RECIPE in recipe_names(task))


def _name(args: argparse.Namespace, flags: Sequence[str]) -> tuple[str, Path | None]:
    """The run's name, and the checkpoint that it goes on from, if `--ckpt_path` was given."""
    runs, task = Path(flag_value(list(flags), "--run.folder") or "runs"), _task(args).name
    if args.ckpt_path is None:
        folder = runs / task / args.recipe
        free = (str(n) for n in count() if not any((folder / f"{n}{end}").exists() for end in ("", DECODER)))
        return flag_value(list(flags), "--run.name") or next(free), None
    path = find_checkpoint(args.ckpt_path, runs, task, args.recipe, purpose="resume")
    return path.parent.name.removesuffix(DECODER), path


def _session(args: argparse.Namespace, flags: list[str]) -> "Session":
    """Builds model and data, with a total batch that the images fill."""
    from maekit.api import Session
    from maekit.recipes.settings import resolve
    from maekit.training.processes.meeting import one_outcome
    from maekit.training.start import meet

    recipe = load_recipe(_task(args), args.recipe, args.config)
    module = recipe.task.load()
    settings = resolve(recipe, module, flags, training=True)
    meet(settings, trains=True)
    with one_outcome():
        session = Session(settings, module)
        images = len(session.data.train_dataset(0))
        if images < session.data.total_batch_size and "data.total_batch_size" not in settings.given:
            total = 2 ** (min(images, LARGEST).bit_length() - 1)
            say(f"batch   {total} instead of {session.data.total_batch_size}: there are {images} training images")
            session = Session(
                resolve(recipe, module, [*flags, f"--data.total_batch_size={total}"], training=True), module
            )
    return session


def _warm_up(args: argparse.Namespace, flags: list[str], start: "Start", name: str, resumed: Path | None) -> Path:
    """Trains a fresh decoder on the frozen encoder, in a run of its own; returns its last checkpoint."""
    from maekit.runs.begin import finished_step

    runs, task = Path(flag_value(flags, "--run.folder") or "runs"), _task(args).name
    folder = runs / task / args.recipe / f"{name}{DECODER}"
    last: Path = folder / "last.ckpt"
    if last.is_file() and finished_step(folder) is not None:
        return last
    epochs = plural(args.decoder_epochs, "epoch")
    say(f"decoder {start.path.name} has none: a fresh one is trained first, for {epochs}, with the encoder frozen")
    own = [
        f"--model.weights={start.path}", "--model.new_head=true", "--model.freeze=backbone", "--model.monitor=loss",
        f"--trainer.max_epochs={args.decoder_epochs}", "--run.patience=null", f"--run.name={name}{DECODER}",
    ]  # fmt: skip
    path = resumed if resumed is not None and resumed.parent.name == folder.name else None
    _session(args, [*flags, *own]).fit(path, words=sys.argv[1:])
    return last


def _judged(session: "Session", weights: Path) -> list[bool]:
    """Which labelled images their neighbours classify rightly with these weights; asked of process 0 alone."""
    from maekit.pretraining.judging import right_by_neighbours
    from maekit.training.processes.meeting import on_first
    from maekit.training.trainer import local_device

    model, device = session.settings.values["model"], local_device(session.settings)
    images, neighbours = model["probe_images"], model["probe_neighbours"]
    return on_first(
        lambda: right_by_neighbours(weights, session.data, images=images, neighbours=neighbours, device=device)
    )


def _say_outcome(args: argparse.Namespace, session: "Session", before: list[bool], folder: Path) -> None:
    """Says whether the new weights are better, and which to use; keeps the numbers in the run's folder."""
    from maekit.pretraining.judging import verdict

    best = folder / "best.ckpt"
    found = verdict(before, _judged(session, best), args.min_gain)
    if rank() == 0:
        write_json(folder / "adapted.json", {"weights": args.weights, **found.plain()})
    say(found.line())
    say(f"use     {shown(best) if found.is_worth_it else f'{args.weights}, as before'}")
