"""What a command refuses, and says, before torch is imported: mistyped flags, missing folders, weights, checkpoints."""

import argparse
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from maekit.errors import UserError
from maekit.recipes.recipe import Recipe
from maekit.recipes.remembered import remembered
from maekit.runs.checkpoint_path import Purpose, find_checkpoint, rank_checkpoint
from maekit.system.launch import find_launch
from maekit.system.rank import rank
from maekit.system.terminal import say
from maekit.weights.get.find import require_known

if TYPE_CHECKING:
    from maekit.recipes.settings import Settings


def check_early(
    args: argparse.Namespace,
    recipe: Recipe,
    flags: list[str],
    prog: str,
    purpose: Purpose,
    loaded: ModuleType | None = None,
) -> "Settings | None":
    """Refuses what needs no torch to be refused, if the task's flags are remembered; `fit` then says what it begins.

    All of it is checked again with the task itself, so what is not remembered is only refused later.

    Args:
        args: of the command.
        recipe: the chosen one.
        flags: the task's own.
        prog: the command, as `maekit fit`.
        purpose: of its `--ckpt_path`.
        loaded: the task, where this process has imported it already; its settings then need no second check.

    Returns:
        The settings; None if the flags are not remembered.

    Raises:
        UserError: as `resolve`, and for a folder, a file of weights or a checkpoint that does not exist.
    """
    from maekit.recipes.settings import resolve

    known = loaded or remembered(recipe.task)
    if known is None:
        if prog == "maekit fit" and not args.print_config and rank() == 0:
            say(f"task    {recipe.task.name}, recipe {recipe.name}")
        return None
    settings = resolve(recipe, known, flags, training=True)
    launch = find_launch()
    if args.print_config or rank() > 0 or (launch is not None and launch.world > 1):
        return settings
    _check_root(settings)
    if args.ckpt_path is None:
        _check_weights(settings)
    elif not (purpose == "resume" and args.ckpt_path == "last" and rank_checkpoint()):
        name = settings.values["run"]["name"] if "run.name" in settings.given else None
        runs = Path(settings.values["run"]["folder"])
        find_checkpoint(args.ckpt_path, runs, recipe.task.name, recipe.name, purpose=purpose, name=name)
    if prog == "maekit fit":
        say(first_line(settings))
    return settings


def first_line(settings: "Settings") -> str:
    """Returns a line with what is about to be trained: task, recipe, data and weights."""
    root, weights = settings.values["data"].get("root"), settings.values["model"]["weights"]
    data = "its own small data" if root is None else str(root)
    start = "" if weights is None else ", from random weights" if weights == "none" else f", from weights {weights}"
    return f"task    {settings.recipe.task.name}, recipe {settings.recipe.name}, on {data}{start}"


def _check_root(settings: "Settings") -> None:
    """Refuses a root that is no folder, where it is the only place of data that was given."""
    data, root = settings.values["data"], settings.values["data"].get("root")
    others = [
        key for key in settings.given if key.startswith("data.") and key != "data.root" and _is_path(data, key[5:])
    ]
    if not isinstance(root, str) or others or "data.root" not in settings.given:
        return
    path = Path(root).expanduser()
    if not path.exists():  # a file may be what the task reads
        from maekit.data.folders.layout import missing

        raise UserError(missing(path.absolute()))


def _is_path(data: dict[str, object], name: str) -> bool:
    value = data.get(name)
    return isinstance(value, list) or (isinstance(value, str) and ("/" in value or Path(value).exists()))


def _check_weights(settings: "Settings") -> None:
    weights = settings.values["model"]["weights"]
    if isinstance(weights, str) and weights != "none":
        require_known(weights)
