"""`maekit show`: print a recipe as it is in its files, or resolved."""

import argparse
import json

import yaml

from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="a task's name, or the path of your own task.py")
    parser.add_argument("--recipe", help="an overlay; default: the task's base recipe")
    parser.add_argument(
        "--resolved", action="store_true", help="one stacked YAML instead of the files with their sources"
    )
    parser.add_argument("--json", action="store_true", help="the stacked recipe as JSON")


def main(args: argparse.Namespace) -> int:
    """Prints the recipe's files, or the stacked values."""
    recipe = load_recipe(find_task(args.task), args.recipe)
    if args.json:
        print(json.dumps(recipe.values, indent=2))
    elif args.resolved:
        print(yaml.safe_dump(recipe.values, sort_keys=False), end="")
    else:
        for line in recipe.task.own_data_lines():
            print(f"# {line}\n")
        for file in recipe.files:
            print(f"# ---- {file}\n{file.read_text(encoding='utf-8')}")
    return 0
