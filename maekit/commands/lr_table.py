"""`maekit lr-table`: prints layer, learning rate and weight decay of each parameter; needs no weights or data.

Of weights that are named and there the shapes are read, since they decide the backbone.
"""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from maekit.commands.shared.examples import print_help
from maekit.commands.shared.flags import add_recipe_arguments
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.system.terminal import print_aside

if TYPE_CHECKING:
    from maekit.base.model import TransferModel
    from maekit.optim.groups import ParameterRow

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --task, --recipe, --config, --json, --groups and --help; the task's own flags are passed on."""
    add_recipe_arguments(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help='print {"parameters": [{"name", "layer", ...}], "trained": ..., "frozen": ...}',
    )
    parser.add_argument("--groups", action="store_true", help="one line for each optimizer group, not each parameter")
    parser.add_argument("-h", "--help", action="store_true", help="this help")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Prints a row for each parameter, or each optimizer group, as text or JSON; returns the exit status."""
    if args.help:
        print_help(
            parser, "The task's --model.*, --optim.* and --data.* flags apply, such as --optim.layer_decay 0.65."
        )
        return 0
    from maekit.optim.share import describe, parts, share_of

    rows, model = table(args, flags)
    sizes, share = {name: parameter.numel() for name, parameter in model.named_parameters()}, share_of(model)
    if args.json:
        print(json.dumps({"parameters": [asdict(row) for row in rows], **asdict(share)}, indent=1))
        return 0
    if args.groups:
        print_groups(rows, sizes)
    else:
        width = max(len(row.name) for row in rows)
        print(f"{'parameter':<{width}}  layer  lr_scale   lr         weight_decay")
        for row in rows:
            print(f"{row.name:<{width}}  {row.layer:>5}  {row.lr_scale:<9.3e}  {row.lr:<9.3e}  {row.weight_decay:g}")
    if sum(share.frozen.values()):
        print(f"{describe(model)}: {parts(share.trained)}; frozen: {parts(share.frozen)}")
    return 0


def table(args: argparse.Namespace, flags: list[str]) -> "tuple[list[ParameterRow], TransferModel]":
    """Returns the rows of a recipe's model, and the model.

    The model is built on torch's meta device, for the classes of the published data set at the recipe's image size.
    """
    recipe = load_recipe(find_task(args.task), args.recipe, args.config)
    from maekit.base.follow import follow_weights
    from maekit.optim.settings import Optimisation
    from maekit.recipes.settings import resolve
    from maekit.system.hardware import on_meta

    module = recipe.task.load()
    if module.Model.evaluates_only:
        raise UserError(f"task {recipe.task.name} evaluates only, so it has no learning rates; see `maekit validate`")
    settings = resolve(recipe, module, flags, training=False, prog="maekit lr-table")
    print_aside(follow_weights(settings, module.Model, download=False))
    spec = module.Data(**settings.values["data"]).assumed_spec()
    with on_meta():
        model = module.Model.build(spec, settings.values["model"])
    rows = Optimisation(**settings.values["optim"]).rows(
        model, model.backbone, settings.values["data"]["total_batch_size"]
    )
    return rows, model


def print_groups(rows: "list[ParameterRow]", sizes: dict[str, int]) -> None:
    """Prints one line for each layer, weight decay and own factor, with numbers of tensors and parameters."""
    print("layer  lr_scale   lr         weight_decay  tensors  parameters")
    for key in sorted({(row.layer, row.weight_decay, row.factor) for row in rows}):
        group = [row for row in rows if (row.layer, row.weight_decay, row.factor) == key]
        first, count = group[0], sum(sizes[row.name] for row in group)
        print(
            f"{first.layer:>5}  {first.lr_scale:<9.3e}  {first.lr:<9.3e}  {first.weight_decay:<12g}  "
            f"{len(group):>7}  {count:>10,}"
        )
