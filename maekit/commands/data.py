"""`maekit data make` and `maekit data check`: synthetic data in the true format, and what is wrong with yours."""

import argparse
import json
from pathlib import Path

from maekit.task import find_task

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the two actions and their flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|check")
    make = actions.add_parser("make", help="write a small data set of handwritten digits in the task's on-disk format")
    check = actions.add_parser("check", help="verify a data set in seconds: layout, classes, unreadable files")
    for action in (make, check):
        action.add_argument("--task", required=True, help="the task whose format it is")
        action.add_argument("--root", type=Path, required=True, help="folder of the data set")
    check.add_argument("--classes", type=int, help="class count of the head it must fit; default: any")
    check.add_argument("--full", action="store_true", help="decode every file, not only its head and end")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    """Makes or checks; a check that found problems exits with 1."""
    data = find_task(args.task).load().Data
    if args.action == "make":
        print(data.make(args.root))
        return 0
    findings = data.check(args.root, classes=args.classes, full=args.full)
    if args.json:
        print(json.dumps({"facts": findings.facts, "problems": findings.problems}, indent=1))
    else:
        print("\n".join(findings.lines()))
    return 0 if findings.ok else 1
