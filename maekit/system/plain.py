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


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an integer or a float; a truth value is none, NaN is one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite_number(value: object) -> float | None:
    """The value if it is a number other than NaN and infinity, else None."""
    return value if is_number(value) and math.isfinite(value) else None
