"""The dataclass of settings that a model's constructor takes, found and filled. No torch here."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from inspect import signature
from typing import TypeVar, get_args, get_origin, get_type_hints

from maekit.errors import UserError

S = TypeVar("S")

# What a model had in earlier versions, and the object that its `shown()` returns has today.
SHOWN = "prediction_writer", "picture", "judge", "example_picture", "example_score"


def settings_class(model: type) -> type:
    """Returns the dataclass that a model's constructor takes as `settings`.

    Raises:
        UserError: it takes none, or shows its images itself, as the models of earlier versions did.
    """
    place = f"{model.__module__}.{model.__qualname__}"
    if "settings" not in signature(model).parameters:
        raise UserError(
            f"{place}: got a constructor without `settings`, expected (self, spec, settings: YourSettings), where "
            "YourSettings is a frozen dataclass with the arguments (maekit/base/settings.py; CONTRIBUTING.md shows one)"
        )
    if old := [name for name in SHOWN if any(name in vars(parent) for parent in model.__mro__)]:
        raise UserError(
            f"{place}: got `{old[0]}` on the model, expected it on the object that its method `shown` returns, where "
            "`example_score` is called `score` (maekit/base/shown.py); move it there"
        )
    kind = get_type_hints(vars(model).get("__init__", model.__init__))["settings"]  # type: ignore[misc]
    assert isinstance(kind, type) and is_dataclass(kind), f"{place}: `settings` is annotated with no dataclass"
    return kind


def mappings(kind: type) -> set[str]:
    """Returns the fields of a class of settings that are mappings, whose keys are not known beforehand."""
    hints = get_type_hints(kind)
    return {name for name, hint in hints.items() if dict in (get_origin(part) for part in (hint, *get_args(hint)))}


def make_settings(kind: type[S], values: Mapping[str, object]) -> S:
    """Makes settings of a class from plain values; a mapping becomes the dataclass its field is annotated with."""
    hints = get_type_hints(kind)
    nested = {name for name, value in values.items() if isinstance(value, Mapping) and is_dataclass(hints.get(name))}
    return kind(**{name: make_settings(hints[name], v) if name in nested else v for name, v in values.items()})  # type: ignore[arg-type]
