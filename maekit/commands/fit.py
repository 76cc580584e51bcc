"""`maekit fit`: train a task, or resume a run."""

import argparse
import sys
from pathlib import Path

from maekit.commands.shared.session import add_session_arguments, chosen_recipe, given_checkpoint, open_session
from maekit.runs.checkpoint_path import requeued_checkpoint
from maekit.system import parent

FORWARDS = True

add_arguments = add_session_arguments


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Trains, unless only help or the configuration was asked for; stops if its parent process ends."""
    parent.watch()
    recipe = chosen_recipe(args, flags, parser, "resume")
    if recipe is None:
        return 0
    session = open_session(args, recipe, flags, "maekit fit")
    if session is None:
        return 0
    path = given_checkpoint(args, recipe, session, "resume")
    if path is None:
        runs = Path(session.settings.values["run"]["folder"])
        path = requeued_checkpoint(runs, recipe.task.name, recipe.name)
    session.fit(path, words=sys.argv[1:])
    return 0
