"""Plain values of unknown origin, such as JSON: their type, and reading them by their type."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard, TypeVar

T = TypeVar("T")

# What JSON and YAML hold; `float` admits integers.
JSON: TypeAlias = "str | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"


def table(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def of(kind: type[T], value: object) -> T | None:
    """Returns the value if it is exactly of that type (a bool is no int here), else None."""
    return value if type(value) is kind else None


def listed_names(given: str | Sequence[str]) -> list[str]:
    """Returns the names of a flag, without blanks around them: a list, or text with commas between.

    Brackets around the text are no part of it: `[1,2]` reaches a flag of names as text, since 1 is no name.
    """
    if not isinstance(given, str):
        return [name.strip() for name in given]
    text = given.strip()
    if text.startswith("[") and text.endswith("]"):
        return [name.strip().strip("'\"").strip() for name in text[1:-1].split(",")]
    return [name.strip() for name in text.split(",")]


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an integer or a float; a truth value is none, NaN is one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite_number(value: object) -> float | None:
    """The value if it is a number other than NaN and infinity, else None."""
    return value if is_number(value) and math.isfinite(value) else None
