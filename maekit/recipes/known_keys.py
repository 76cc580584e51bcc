"""The dotted keys of a task's flags, without importing the task: for tab completion. Standard library and YAML only."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import get_type_hints

from maekit.errors import UserError
from maekit.recipes.flag_help import MOST_USED, type_words
from maekit.recipes.options import RunOptions, TrainerOptions
from maekit.recipes.recipe import flat, load_recipe, recipe_names
from maekit.recipes.tasks import Task, find_task
from maekit.system.files import atomic_write_text, cache_folder


def known_keys(task: str | None) -> dict[str, str]:
    """The keys of a task as far as they are known without importing it, each with its type in short or nothing.

    These are the keys of Trainer and run, those that the task's recipes set, the most used, and, once a command has
    loaded the task, all of its keys (`remember_keys`). Without a task: those that all tasks have.
    """
    found: dict[str, str] = {}
    with suppress(UserError):
        given = find_task(task)
        found = dict.fromkeys(_read(given), "")
        if not found:
            recipes = [load_recipe(given, name).values for name in recipe_names(given)]
            found = dict.fromkeys([*MOST_USED, *(key for values in recipes for key, _ in flat(values))], "")
    for section, options in (("trainer", TrainerOptions), ("run", RunOptions)):
        hints = get_type_hints(options)
        found |= {f"{section}.{one.name}": type_words(hints[one.name]) for one in fields(options)}
    return found


def remember_keys(task: Task, keys: Iterable[str]) -> None:
    """Keeps all keys of a task in the cache; where that cannot be written, nothing is kept."""
    names = sorted(keys)
    if names != _read(task):
        with suppress(UserError, OSError):
            atomic_write_text(_file(task), json.dumps(names))


def _read(task: Task) -> list[str]:
    try:
        found = json.loads(_file(task).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(key) for key in found] if isinstance(found, list) else []


def _file(task: Task) -> Path:
    place = sha256(str(task.file).encode()).hexdigest()[:8]
    return cache_folder() / "flags" / f"{task.name}-{place}.json"
