"""`maekit fit`: train a task, or go on with a run."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maekit import orphan
from maekit.aliases import flag_answer
from maekit.errors import UserError, nearest
from maekit.recipe import Recipe, load_recipe
from maekit.run_folder import find_checkpoint, requeued_checkpoint
from maekit.task import find_task

if TYPE_CHECKING:
    from maekit.api import Session

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `fit` and `validate` share; all others are the task's own."""
    add_recipe_arguments(parser)
    parser.add_argument("--ckpt_path", help="a checkpoint, a run's folder, or `last` / `best` of the newest run")
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("-h", "--help", action="store_true", help="this help; with --task, every flag of the task")


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name a recipe."""
    parser.add_argument("--task", help="a task's name, or the path of your own task.py")
    parser.add_argument("--recipe", help="an overlay of the task's recipe; default: its base recipe")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="your own YAML on top; may be repeated"
    )


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Trains."""
    orphan.watch()
    recipe = chosen_recipe(args, flags, parser)
    if recipe is None:
        return 0
    session = open_session(args, recipe, flags, "maekit fit")
    if session is None:
        return 0
    path = checkpoint(args, recipe, session)
    if path is None:
        runs = Path(session.settings.values["run"]["folder"])
        path = requeued_checkpoint(runs, recipe.task.name, recipe.name)
    session.fit(path, command=resume_command())
    return 0


def chosen_recipe(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> Recipe | None:
    """The recipe that `--task`, or the card of `--ckpt_path`, names; None when only help was asked for."""
    if args.help and args.task is None:
        parser.print_help()
        print(
            "\nAll other flags are the task's own: --model.*, --data.*, --trainer.*, --run.*; add --task to see them."
        )
        return None
    if args.task is None:
        own = [action.option_strings[0] for action in parser._actions if action.option_strings]
        for flag in flags:
            word, answer = flag.split("=")[0], flag_answer(flag.split("=")[0].lstrip("-"), ())
            if flag.startswith("--") and "." not in flag and (answer or nearest(word, own)):
                raise UserError(f"unknown flag '{word}'{f'; {answer}' if answer else nearest(word, own)}")
        if args.ckpt_path and args.recipe is None and not args.config:
            from maekit.card import read_card

            path = find_checkpoint(args.ckpt_path, Path("runs"))
            return read_card(path).as_recipe(path)
    return load_recipe(find_task(args.task), args.recipe, args.config)


def open_session(args: argparse.Namespace, recipe: Recipe, flags: list[str], prog: str) -> "Session | None":
    """Checks the flags and builds model and data; None when help or the configuration was all that was asked."""
    from maekit.settings import help_text, resolve

    module = recipe.task.load()
    if args.help:
        print(help_text(recipe, module, prog))
        return None
    settings = resolve(recipe, module, flags, training=True)
    if args.print_config:
        print(settings.yaml(), end="")
        return None
    from maekit.api import Session, refuse_evaluation_only

    if prog == "maekit fit":
        refuse_evaluation_only(settings, module.Model)  # before its data are asked for
    return Session(settings, module)


def checkpoint(args: argparse.Namespace, recipe: Recipe, session: "Session") -> Path | None:
    """The file that `--ckpt_path` means, if it was given."""
    if args.ckpt_path is None:
        return None
    return find_checkpoint(
        args.ckpt_path, Path(session.settings.values["run"]["folder"]), recipe.task.name, recipe.name
    )


def resume_command() -> str:
    """The command that goes on with this run, should it be interrupted."""
    words = sys.argv[1:]
    if "--ckpt_path" not in words and not any(word.startswith("--ckpt_path=") for word in words):
        words = [*words, "--ckpt_path", "last"]
    return shlex.join(["maekit", *words])
