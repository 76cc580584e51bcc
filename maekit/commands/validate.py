"""`maekit validate`: measure a checkpoint or a weights file on the validation images."""

import argparse
import json

from maekit.commands import fit
from maekit.run_folder import finite, rank

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    fit.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Validates and prints the task's table, if it has one, and the metrics; as JSON all of them."""
    recipe = fit.chosen_recipe(args, flags, parser)
    if recipe is None:
        return 0
    session = fit.open_session(args, recipe, flags, "maekit validate")
    if session is None:
        return 0
    metrics = session.validate(fit.checkpoint(args, recipe, session))
    if rank() > 0:
        return 0
    if args.json:
        print(json.dumps(finite(metrics)))
    else:
        print("  ".join(f"{name} {value:.3f}" for name, value in session.model.headlines(metrics).items()))
    return 0
