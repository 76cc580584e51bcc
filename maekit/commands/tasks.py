"""`maekit tasks`: list the tasks, their recipes, and the data of one's own that each takes."""

import argparse
import json
import shutil
import textwrap

from maekit.recipes.recipe import recipe_names
from maekit.recipes.tasks import shipped_tasks

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Prints each task with its summary, its own data and recipes."""
    rows = [
        {"task": task.name, "summary": task.summary(), "own_data": task.own_data(), "recipes": recipe_names(task)}
        for task in shipped_tasks()
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    for row in rows:
        print(row["task"])
        for text in (row["summary"], f"your own data: {row['own_data']}" if row["own_data"] else ""):
            print(textwrap.fill(str(text), width, initial_indent=" " * 4, subsequent_indent=" " * 8)) if text else None
        recipes = f"recipes: {', '.join(row['recipes'])} (the first is the default)"
        print(textwrap.fill(recipes, width, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False))
    print("\nNext: maekit show TASK, then maekit fit --task TASK --recipe RECIPE")
    return 0
