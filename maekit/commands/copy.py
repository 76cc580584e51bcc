"""`maekit copy`: fork a task and its recipes."""

import argparse
import shutil
from pathlib import Path

from maekit.errors import UserError
from maekit.recipes.tasks import Task, find_task

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="a task's name, or the path of a task.py")
    parser.add_argument("folder", type=Path, help="where tasks/ and configs/ are made")
    parser.add_argument("--name", help="the copy's name; default: the task's own")


def main(args: argparse.Namespace) -> int:
    """Copies the files, refusing to overwrite any, and prints the command that runs the copy."""
    task = find_task(args.task)
    name = args.name or task.name
    if not name.isidentifier():
        raise UserError(f"'{name}' cannot name a task; use letters, digits and underscores")
    pairs = [(source, args.folder / target) for source, target in files_to_copy(task, name)]
    for _, target in pairs:
        if target.exists():
            raise UserError(f"{target} exists already; nothing was copied. Give another folder or another --name")
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        print(target)
    print(f"\nNext: maekit fit --task {args.folder / 'tasks' / name}.py --recipe RECIPE")
    return 0


def files_to_copy(task: Task, name: str) -> list[tuple[Path, Path]]:
    """Returns source files with their relative paths in the copy."""
    configs = sorted([task.configs / f"{task.name}.yaml", *task.configs.glob(f"{task.name}-*.yaml")])
    renamed = [(file, Path("configs") / (name + file.name.removeprefix(task.name))) for file in configs]
    return [(task.file, Path("tasks") / f"{name}.py"), *renamed]
