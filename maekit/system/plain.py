"""Reading plain values of unknown origin, such as JSON, by their type."""

from collections.abc import Mapping
from typing import Any


def table(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def of(kind: type, value: object) -> Any:
    """The value if it is exactly of that type, else None."""
    return value if type(value) is kind else None
