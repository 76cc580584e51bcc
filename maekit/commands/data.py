"""`maekit data make` writes synthetic data in a task's format; `maekit data check` verifies a data set of yours."""

import argparse
import json
from pathlib import Path

from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the two actions and their flags."""
    parser.add_argument("-h", "--help", action="help", help="this help")
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|check")
    make = actions.add_parser("make", help="write a small data set of handwritten digits in the task's on-disk format")
    check = actions.add_parser(
        "check",
        help="verify a data set in seconds: layout, classes, unreadable files",
        epilog="Every --data.* flag of `maekit fit` applies too; `maekit fit --task TASK --help` lists them.",
        allow_abbrev=False,
    )
    for action in (make, check):
        action.add_argument("--task", required=True, help="the task whose format it is")
    make.add_argument("--root", "--data.root", type=Path, required=True, help="folder of the data set")
    check.add_argument("--root", help="folder of the data set: the same as --data.root")
    check.add_argument("--recipe", help="an overlay of the task's recipe; default: its base recipe")
    check.add_argument("--config", type=Path, action="append", default=[], help="your own YAML on top; may be repeated")
    check.add_argument("--classes", type=int, help="class count of the head it must fit; default: any")
    check.add_argument("--full", action="store_true", help="decode every file, not only its head and end")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Makes or checks; returns 1 if a check found problems."""
    if args.action == "check":
        return check(args, flags)
    if flags:
        raise UserError(f"unknown flag '{flags[0]}'; see `maekit data make --help`")
    print(find_task(args.task).load().Data.make(args.root))
    return 0


def check(args: argparse.Namespace, flags: list[str]) -> int:
    """Checks the data set that `fit` with the same flags would read, by fit's own code."""
    recipe = load_recipe(find_task(args.task), args.recipe, args.config)
    from maekit.base.findings import Findings
    from maekit.recipes.settings import resolve_data

    module = recipe.task.load()
    given = [*flags, f"--data.root={args.root}"] if args.root is not None else flags
    data = module.Data(**resolve_data(recipe, module, given))
    try:
        findings = data.check(classes=args.classes, full=args.full)
    except UserError as error:
        findings = Findings(problems=[str(error)])
    if args.json:
        print(json.dumps({"facts": findings.facts, "problems": findings.problems}, indent=1))
    else:
        print("\n".join(findings.lines()))
    return 0 if findings.ok else 1
