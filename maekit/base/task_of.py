"""Which shipped tasks learn a kind of target, for errors that say which task data are for."""

from dataclasses import fields

from maekit.base.spec import Target
from maekit.recipes.tasks import shipped_tasks


def tasks_of(target: Target) -> str:
    """Returns `--task NAME` of the first shipped task whose data have a target and that reads it from a table."""
    for task in shipped_tasks():
        data = task.load().Data
        if data.target == target and "label_column" in {field.name for field in fields(data)}:
            return f"--task {task.name}"
    return "another task"
