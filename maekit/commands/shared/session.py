"""What `fit` and `validate` do before they differ: choose the recipe, check the flags, build model and data."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from maekit.commands.shared.early import check_early
from maekit.commands.shared.examples import example_text, examples
from maekit.commands.shared.flags import OneValue, add_help_argument, add_recipe_arguments
from maekit.errors import UserError, nearest
from maekit.recipes.aliases import flag_answer
from maekit.recipes.flag_value import flag_value
from maekit.recipes.recipe import Recipe, flat, load_recipe
from maekit.recipes.remembered import remember, remembered
from maekit.recipes.tasks import find_task
from maekit.runs.checkpoint_path import Purpose, find_checkpoint, rank_checkpoint
from maekit.system.launch import find_launch
from maekit.system.terminal import print_aside, say_all

if TYPE_CHECKING:
    from maekit.api import Session
    from maekit.base.checkpoint_card import Card
    from maekit.recipes.settings import Settings


def add_session_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Adds the flags that `fit` and `validate` share; all others are the task's own.

    Args:
        parser: of the command.
        names: other names of --ckpt_path.
    """
    add_recipe_arguments(parser)
    parser.add_argument(
        "--ckpt_path",
        *names,
        action=OneValue,
        help="a checkpoint, a run's folder or number (3, smoke/3; to go on its last.ckpt, to measure its best.ckpt, "
        "else last.ckpt), or `last` / `best`: the file of that name in the newest run, by its last save, or in that of "
        "--run.name",
    )
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and stop")
    add_help_argument(parser)


def chosen_recipe(
    args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser, purpose: Purpose = "read"
) -> Recipe | None:
    """Returns the recipe that `--task`, or the card of `--ckpt_path`, names; None if only help was asked for."""
    if args.help and args.task is None:
        others = (
            "All other flags are the task's own: --model.*, --data.*, --trainer.*, --run.*; add --task to see them."
        )
        parser.epilog = f"{others}\n\n{parser.epilog}"
        parser.print_help()
        return None
    if args.task is None:
        _refuse_unknown(flags, parser)
        if args.ckpt_path and args.recipe is None and not args.config:
            from maekit.base.checkpoint_card import read_card

            runs, name = (flag_value(flags, flag) for flag in ("--run.folder", "--run.name"))
            path = find_checkpoint(args.ckpt_path, Path(runs or "runs"), purpose=purpose, name=name)
            return _recipe_of(read_card(path), path)
    return load_recipe(find_task(args.task), args.recipe, args.config)


@contextmanager
def ending_together() -> Iterator[None]:
    """Ends all processes of a launcher if the block fails in one of them, before they have found each other."""
    try:
        yield
    except UserError as error:
        launch = None if error.shared else find_launch()
        if launch is not None and launch.world > 1:
            from maekit.training.start import tell_others

            tell_others(error)
        raise


def _refuse_unknown(flags: list[str], parser: argparse.ArgumentParser) -> None:
    """Refuses a flag that looks like a mistyped flag of this command; without a task no other can be checked."""
    own = [action.option_strings[0] for action in parser._actions if action.option_strings]
    for flag in flags:
        word, answer = flag.split("=")[0], flag_answer(flag.split("=")[0].lstrip("-"), ())
        if flag.startswith("--") and "." not in flag and (answer or nearest(word, own)):
            raise UserError(f"unknown flag '{word}'{f'; {answer}' if answer else nearest(word, own)}")


def _recipe_of(card: "Card", path: Path) -> Recipe:
    """The configuration in a checkpoint's card as a recipe on which flags can be put."""
    config = dict(card.config)
    origins = dict.fromkeys((key for key, _ in flat(config)), path)
    return Recipe(find_task(card.task), card.recipe, config, origins, (path,))


def open_session(
    args: argparse.Namespace, recipe: Recipe, flags: list[str], prog: str, purpose: Purpose = "read"
) -> "tuple[Session, Path | None] | None":
    """Checks the flags and builds model and data.

    Returns:
        The session, and the file that `--ckpt_path` means, whose backbone the model then has; None if only help or the
        configuration was asked for.
    """
    from maekit.recipes.settings import resolve

    loaded = recipe.task.loaded()
    if args.help and (known := loaded or remembered(recipe.task)):
        _print_help(args, recipe, known, prog)
        return None
    early = None if args.help else check_early(args, recipe, flags, prog, purpose, loaded)
    module = loaded or recipe.task.load()
    if early is None:
        remember(recipe.task, module)
    if args.help:
        _print_help(args, recipe, module, prog)
        return None
    settings = early if early and loaded else resolve(recipe, module, flags, training=True)
    from maekit.base.follow import follow_weights, held_by

    if args.print_config:
        path = given_checkpoint(args, settings, purpose)
        print_aside(follow_weights(settings, module.Model, held_by(path) if path else None, download=False))
        print(settings.yaml(), end="")
        return None
    from maekit.api import Session
    from maekit.training.processes.meeting import on_first, one_outcome
    from maekit.training.start import meet, require_one_device

    fits = prog == "maekit fit"
    if prog != "maekit validate":
        settings.require_training()  # before its data are asked for
    if prog == "maekit lr-find":
        require_one_device(settings, "a range test")
    else:
        meet(settings, trains=fits)
    path = given_checkpoint(args, settings, purpose)
    held = on_first(lambda: held_by(path)) if path else None
    with one_outcome():
        lines = follow_weights(settings, module.Model, held)
        (say_all if fits else print_aside)(lines)
        return Session(settings, module, trains=fits), path


def _print_help(args: argparse.Namespace, recipe: Recipe, module: ModuleType, prog: str) -> None:
    from maekit.recipes.settings import help_text

    print(help_text(recipe, module, prog, every=args.help == "all"))
    print(f"\n{example_text(examples()[prog.removeprefix('maekit ')])}")


def given_checkpoint(args: argparse.Namespace, settings: "Settings", purpose: Purpose = "read") -> Path | None:
    """Returns the file that `--ckpt_path` means, if it was given; a rank that a run started gets that of its run."""
    from maekit.training.processes.meeting import gathered, on_first

    asked = gathered(args.ckpt_path is not None)
    if asked.count(asked[0]) < len(asked):
        error = UserError(
            f"got --ckpt_path in {asked.count(True)} of {len(asked)} processes, expected the same command in every one"
        )
        error.shared = True
        raise error
    if args.ckpt_path is None:
        return None
    of_run = rank_checkpoint() if purpose == "resume" and args.ckpt_path == "last" else None
    options, recipe = settings.values["run"], settings.recipe
    return of_run or on_first(
        lambda: find_checkpoint(
            args.ckpt_path,
            Path(options["folder"]),
            recipe.task.name,
            recipe.name,
            purpose=purpose,
            name=options["name"] if "run.name" in settings.given else None,
        )
    )
