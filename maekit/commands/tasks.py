"""`maekit tasks`: list the tasks and their recipes."""

import argparse
import json

from maekit.recipes.recipe import recipe_names
from maekit.recipes.tasks import shipped_tasks

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Prints each task with its summary and recipes."""
    rows = [{"task": task.name, "summary": task.summary(), "recipes": recipe_names(task)} for task in shipped_tasks()]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(
            f"{row['task']}\n    {row['summary']}\n    recipes: {', '.join(row['recipes'])} (the first is the default)"
        )
    print("\nNext: maekit show TASK, then maekit fit --task TASK --recipe RECIPE")
    return 0
