"""`maekit data make` writes synthetic data, `data check` verifies your own, `data stats` measures its bands."""

import argparse
import json
from pathlib import Path

from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the three actions and their flags."""
    parser.add_argument("-h", "--help", action="help", help="this help")
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|check|stats")
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
    _add_stats(actions)


def _add_stats(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    stats = actions.add_parser(
        "stats",
        help="measure the mean and standard deviation of each band of the training images, for --data.stats",
        epilog="With --task every --data.* flag of `maekit fit` applies too: a table, a fold, COCO's JSON.",
        allow_abbrev=False,
    )
    stats.add_argument("--root", "--data.root", help="folder of the data set: its train folder, or all images below")
    stats.add_argument("--task", help="list the training images as this task does")
    stats.add_argument("--recipe", help="an overlay of the task's recipe; default: its base recipe")
    stats.add_argument("--config", type=Path, action="append", default=[], help="your own YAML on top; may be repeated")
    stats.add_argument("--out", type=Path, help="file to write; an older one is replaced. Default: ROOT/stats.json")
    stats.add_argument("--bands", "--data.bands", help="number of channels, or names of all in the file's order")
    stats.add_argument("--file_bands", "--data.file_bands", help="names of all channels, in the file's order")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Makes, checks or measures; returns 1 if a check found problems."""
    if args.action == "check":
        return check(args, flags)
    if args.action == "stats":
        return measure(args, flags)
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


def measure(args: argparse.Namespace, flags: list[str]) -> int:
    """Measures the bands of the training images, and writes the file that --data.stats takes."""
    from maekit.data.images.bands.flags import BandFlags
    from maekit.data.images.bands.make_stats import make_stats, summary_line, table_lines
    from maekit.data.images.bands.stats_file import NAME, write_stats
    from maekit.data.loader import usable_cores

    if args.root is None and args.out is None:
        raise UserError(
            "got neither --root nor --out, expected the folder of the data, or where to write; add --root DIR"
        )
    file = args.out or Path(args.root).expanduser() / NAME
    asked = BandFlags(bands=args.bands, file_bands=args.file_bands).asked_bands()
    stats, notes = make_stats(_training_files(args, flags), asked, usable_cores())
    replaced = " (replaced)" if file.exists() else ""
    write_stats(file, stats)
    print("\n".join([*notes, *table_lines(stats), f"{summary_line(stats)} -> {file}{replaced}"]))
    return 0


def _training_files(args: argparse.Namespace, flags: list[str]) -> list[str]:
    """The paths of the training images: as a task lists them, else all images below the folder or its train folder."""
    from maekit.data.folders.training_files import training_files

    if args.task is None:
        if flags:
            raise UserError(f"got '{flags[0]}' without --task, expected a task whose flag it is; add --task TASK")
        if args.root is None:
            raise UserError("got no --root, expected the folder of the data; add --root DIR, or --task with its flags")
        return training_files(Path(args.root).expanduser().absolute())
    recipe = load_recipe(find_task(args.task), args.recipe, args.config)
    from maekit.recipes.settings import resolve_data

    module = recipe.task.load()
    given = [*flags, f"--data.root={args.root}"] if args.root is not None else flags
    files: list[str] = module.Data(**resolve_data(recipe, module, given)).train_files()
    return files
