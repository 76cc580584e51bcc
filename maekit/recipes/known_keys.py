"""The dotted keys of a task's flags, without importing the task: for tab completion. No torch."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

from maekit.errors import UserError
from maekit.optim.settings import Optimisation
from maekit.recipes.flag_help import MOST_USED, type_words
from maekit.recipes.model_settings import settings_class
from maekit.recipes.options import RunOptions, TrainerOptions
from maekit.recipes.recipe import flat, load_recipe, recipe_names
from maekit.recipes.remembered import remembered
from maekit.recipes.tasks import find_task


def known_keys(task: str | None) -> dict[str, str]:
    """The keys of a task as far as they are known without importing it, each with its type in short or nothing.

    These are the keys of Trainer and run, those that the task's recipes set and the most used, and all of its keys once
    a command has imported it. Without a task: those that all tasks have.
    """
    found: dict[str, str] = {}
    with suppress(UserError):
        given = find_task(task)
        recipes = [load_recipe(given, name).values for name in recipe_names(given)]
        found = dict.fromkeys([*MOST_USED, *(key for values in recipes for key, _ in flat(values))], "")
        if module := remembered(given):
            found = {key: kind for key, kind in found.items() if not key.startswith(("model.", "data."))}
            found |= dict(_keys("model", settings_class(module.Model))) | dict(_keys("data", module.Data))
            found |= {} if module.Model.evaluates_only else dict(_keys("optim", Optimisation))
    return found | dict(_keys("trainer", TrainerOptions)) | dict(_keys("run", RunOptions))


def _keys(section: str, kind: type) -> Iterator[tuple[str, str]]:
    """The dotted keys of the fields of a dataclass, and of those of its fields."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        hint = hints[one.name]
        inner = next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)
        if isinstance(inner, type):
            yield from _keys(f"{section}.{one.name}", inner)
        else:
            yield f"{section}.{one.name}", type_words(hint)
