"""`maekit adapt`: go on with a pre-training on your own images, and say whether it was worth it."""

import argparse
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe, recipe_names
from maekit.recipes.tasks import Task, find_task, shipped_tasks
from maekit.runs.checkpoint_path import LAST, find_checkpoint
from maekit.runs.folder import shown
from maekit.system import parent
from maekit.system.files import write_json
from maekit.system.numbers import plural
from maekit.system.terminal import say, say_all

if TYPE_CHECKING:
    from maekit.api import Session
    from maekit.pretraining.going_on import Start
    from maekit.recipes.settings import Settings

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
    parser.add_argument("-h", "--help", action="help", help="this help")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Adapts, judges, and says which weights to use; returns the exit status."""
    parent.watch()
    _check(args)
    from maekit.pretraining.going_on import labelled_images, start_of
    from maekit.recipes.overrides import as_flags

    labels, start = labelled_images(args.images, args.labels), start_of(args.weights)
    say_all([f"start   {args.weights}: {start.describe()}", *(f"        {line}" for line in start.lines)])
    own = [*as_flags(start.settings), f"--data.root={args.images}", f"--data.probe_root={labels}"]
    flags = [*own, "--trainer.devices=1", *flags]
    settings = _settings(args, flags)
    start.require_bands(settings.recipe.task.load().Data(**settings.values["data"]).spec().bands)
    name, resumed = _name(args, settings.values["run"])
    goes_on = resumed is not None and resumed.parent.name == name
    weights: Path | None = start.path
    if not start.has_decoder and not goes_on:
        weights = _warm_up(args, flags, start, name, resumed)
    if weights is None:
        return 0
    session = _session(args, [*flags, f"--model.weights={weights}", f"--run.name={name}"])
    before = _judged(session, start.path)
    result = session.fit(resumed if goes_on else None, words=sys.argv[1:])
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


def _name(args: argparse.Namespace, options: Mapping[str, Any]) -> tuple[str, Path | None]:
    """The run's name, and the checkpoint that it goes on from, if `--ckpt_path` was given.

    Args:
        args: of the command line.
        options: the section `run`.
    """
    runs, task = Path(options["folder"]), _task(args).name
    if args.ckpt_path is None:
        folder = runs / task / args.recipe
        free = (str(n) for n in count() if not any((folder / f"{n}{end}").exists() for end in ("", DECODER)))
        return options["name"] or next(free), None
    path = find_checkpoint(args.ckpt_path, runs, task, args.recipe, purpose="resume")
    return path.parent.name.removesuffix(DECODER), path


def _settings(args: argparse.Namespace, flags: list[str]) -> "Settings":
    from maekit.base.follow import follow_weights
    from maekit.recipes.settings import resolve

    recipe = load_recipe(_task(args), args.recipe, args.config)
    module = recipe.task.load()
    settings = resolve(recipe, module, flags, training=True)
    follow_weights(settings, module.Model)
    return settings


def _session(args: argparse.Namespace, flags: list[str]) -> "Session":
    """Builds model and data, with a total batch that the images fill."""
    from maekit.api import Session
    from maekit.training.start import require_one_device

    settings = _settings(args, flags)
    require_one_device(settings, "maekit adapt")
    session = Session(settings, settings.recipe.task.load())
    images = len(session.data.train_dataset(0))
    if images < session.data.total_batch_size and "data.total_batch_size" not in settings.given:
        total = 2 ** (min(images, LARGEST).bit_length() - 1)
        say(f"batch   {total} instead of {session.data.total_batch_size}: there are {images} training images")
        session = Session(_settings(args, [*flags, f"--data.total_batch_size={total}"]), settings.recipe.task.load())
    return session


def _warm_up(
    args: argparse.Namespace, flags: list[str], start: "Start", name: str, resumed: Path | None
) -> Path | None:
    """Trains a fresh decoder on the frozen encoder, in a run of its own.

    Returns:
        Its last checkpoint; None where the run paused, as at `--trainer.max_time`.
    """
    from maekit.runs.begin import finished_step

    runs, task = Path(str(_settings(args, flags).values["run"]["folder"])), _task(args).name
    folder: Path = runs / task / args.recipe / f"{name}{DECODER}"
    if (folder / LAST).is_file() and finished_step(folder) is not None:
        return folder / LAST
    epochs = plural(args.decoder_epochs, "epoch")
    say(f"decoder {start.path.name} has none: a fresh one is trained first, for {epochs}, with the encoder frozen")
    own = [
        f"--model.weights={start.path}", "--model.new_head=true", "--model.freeze=backbone", "--model.monitor=loss",
        f"--trainer.max_epochs={args.decoder_epochs}", "--run.patience=null", f"--run.name={name}{DECODER}",
    ]  # fmt: skip
    path = resumed if resumed is not None and resumed.parent.name == folder.name else None
    result = _session(args, [*flags, *own]).fit(path, words=sys.argv[1:])
    return Path(result["folder"]) / LAST if result["status"] == "finished" else None


def _judged(session: "Session", weights: Path) -> list[bool]:
    """Which labelled images their neighbours classify rightly with these weights."""
    from maekit.pretraining.judging import right_by_neighbours
    from maekit.training.trainer import local_device

    model, device = session.settings.values["model"], local_device(session.settings)
    return right_by_neighbours(
        weights, session.data, images=model["probe_images"], neighbours=model["probe_neighbours"], device=device
    )


def _say_outcome(args: argparse.Namespace, session: "Session", before: list[bool], folder: Path) -> None:
    """Says whether the new weights are better, and which to use; keeps the numbers in the run's folder."""
    from maekit.pretraining.judging import verdict

    best = folder / "best.ckpt"
    found = verdict(before, _judged(session, best), args.min_gain)
    write_json(folder / "adapted.json", {"weights": args.weights, **found.plain()})
    say(found.line())
    say(f"use     {shown(best) if found.is_worth_it else f'{args.weights}, as before'}")
