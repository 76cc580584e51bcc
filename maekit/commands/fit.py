"""`maekit fit`: train a task, or resume a run."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.run_end import end_lines
from maekit.commands.shared.session import (
    add_session_arguments,
    chosen_recipe,
    ending_together,
    open_session,
)
from maekit.runs.checkpoint_path import requeued_checkpoint
from maekit.runs.lock import HANDLE
from maekit.system import parent
from maekit.system.rank import rank
from maekit.system.terminal import say, say_all

if TYPE_CHECKING:
    from maekit.api import Session

FORWARDS = True

add_arguments = add_session_arguments


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Trains, unless only help or the configuration was asked for; stops if its parent process ends."""
    parent.watch()
    with ending_together():
        recipe = chosen_recipe(args, flags, parser, "resume")
        opened = open_session(args, recipe, flags, "maekit fit", "resume") if recipe is not None else None
    if recipe is None or opened is None:
        return 0
    session, path = opened
    if path is None:
        path = _of_requeued(session, recipe.task.name, recipe.name)
    wanted = session.settings.values["run"]["report"]
    report = HANDLE not in os.environ if wanted is None else wanted  # a study hands a run its lock
    result = session.fit(path, words=sys.argv[1:])
    if rank() == 0:
        say_all(end_lines(Path(result["folder"]), report=report))
    return 0


def _of_requeued(session: "Session", task: str, recipe: str) -> Path | None:
    """The checkpoint of the run that this SLURM job trained before it was requeued, as process 0 finds it."""
    from maekit.training.processes.meeting import on_first

    runs = Path(session.settings.values["run"]["folder"])
    found = on_first(lambda: requeued_checkpoint(runs, task, recipe))
    if found is None and os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        say(f"note    this job was requeued, and {runs / task / recipe} has no checkpoint of it: a new run begins")
    return found
