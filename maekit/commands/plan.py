"""`maekit plan`: what memory, time and disk a run will need, before anything is trained."""

import argparse
import json
from typing import TYPE_CHECKING

from maekit.commands.shared.examples import print_help
from maekit.commands.shared.flags import add_recipe_arguments
from maekit.errors import UserError
from maekit.recipes.recipe import Recipe, load_recipe, recipe_names
from maekit.recipes.tasks import find_task, shipped_tasks
from maekit.system.terminal import print_aside

if TYPE_CHECKING:
    from maekit.recipes.settings import Settings

FORWARDS = True
OWN = ("trainer.devices", "trainer.num_nodes", "trainer.accelerator")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --task, --recipe, --config, --devices, --share, --json and --help; the task's own flags are passed on."""
    add_recipe_arguments(parser)
    parser.add_argument(
        "--devices", default="auto", help="4x24GiB, 8xA100-80GB, 1xcpu, or auto: those of this machine (the default)"
    )
    parser.add_argument("--share", type=float, help="share of a card's peak arithmetic that is reached; default: 0.4")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-h", "--help", action="store_true", help="this help")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Prints what a run will need and the settings that fit; returns the exit status."""
    if args.help:
        print_help(
            parser, "The task's --model.*, --data.*, --optim.* and --trainer.* flags apply, such as --data.root DIR."
        )
        return 0
    if args.share is not None and not 0 < args.share <= 1:
        raise UserError(f"--share: got {args.share:g}, expected above 0 and at most 1, such as 0.4")
    recipe, note = chosen(args)
    from maekit.planning.devices import find_devices

    devices = find_devices(args.devices)
    from maekit.planning.images import images_of
    from maekit.planning.plan import make_plan
    from maekit.planning.text import json_of, lines_of, require_fit

    module = recipe.task.load()
    settings = checked(recipe, flags)
    images = images_of(module, settings)
    plan = make_plan(module, settings, devices, images, args.share)
    require_fit(plan)
    if args.json:
        print(json.dumps(json_of(plan, settings, flags), indent=1))
        return 0
    for line in [*note, *lines_of(plan, settings, flags)]:
        print(line)
    return 0


def chosen(args: argparse.Namespace) -> tuple[Recipe, list[str]]:
    """Returns the recipe, and a line that names its task where only a recipe was given.

    Raises:
        UserError: neither task nor recipe, or no task has such a recipe.
    """
    if args.task is not None or args.recipe is None:
        return load_recipe(find_task(args.task), args.recipe, args.config), []
    having = [task for task in shipped_tasks() if args.recipe in recipe_names(task)]
    trained = [task for task in having if "optim" in load_recipe(task, args.recipe).values]
    if not trained:
        names = sorted({name for task in shipped_tasks() for name in recipe_names(task)})
        raise UserError(f"no task that is trained has a recipe '{args.recipe}' (known: {', '.join(names)})")
    others = ", ".join(task.name for task in trained[1:])
    also = f"; also in {others}: add --task to choose" if others else ""
    return load_recipe(trained[0], args.recipe, args.config), [f"note     recipe of task {trained[0].name}{also}"]


def checked(recipe: Recipe, flags: list[str]) -> "Settings":
    """Returns the settings with the flags, which say nothing of the devices.

    Raises:
        UserError: a flag is wrong, or the task only evaluates.
    """
    from maekit.base.follow import follow_weights
    from maekit.recipes.settings import resolve

    module = recipe.task.load()
    settings = resolve(recipe, module, flags, training=True, prog="maekit plan")
    if "optim" not in settings.values:
        raise UserError(
            f"task {recipe.task.name} only evaluates, so there is no training to plan; see `maekit validate --task "
            f"{recipe.task.given_as}`"
        )
    if twice := [f"--{key}" for key in OWN if key in settings.given]:
        raise UserError(f"got {twice[0]}, expected --devices COUNTxKIND, such as --devices 4x24GiB, in its place")
    print_aside(follow_weights(settings, module.Model, download=False))
    return settings
