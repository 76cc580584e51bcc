"""Turns the overrides of a Python script into flags of `maekit fit`."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import PurePath

import numpy as np
import torch

from maekit.errors import UserError
from maekit.recipes.settings import SECTIONS
from maekit.system.plain import JSON


def as_flags(overrides: Mapping[str, object]) -> list[str]:
    """Returns `--key=value` for each override.

    Args:
        overrides: dotted keys and values: text, numbers, true or false, None, paths, lists, tuples, mappings, NumPy's
            and torch's numbers and arrays, and timedelta. A section may also be a mapping: `{"run": {"seed": 1}}`.

    Raises:
        UserError: a value of another type, with its key.
    """
    return [f"--{key}={_as_text(key, value)}" for key, value in _dotted(overrides)]


def _dotted(overrides: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise UserError(f"overrides: got the key {key!r}, expected text such as 'data.root'")
        if isinstance(value, Mapping) and key in SECTIONS:
            yield from ((f"{key}.{inner}", plain) for inner, plain in value.items())
        else:
            yield key.removeprefix("--"), value


def _as_text(key: str, value: object) -> str:
    plain = _plain(key, value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _plain(key: str, value: object) -> JSON:
    """Returns a value as JSON's types."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        return _plain(key, value.tolist())
    if isinstance(value, timedelta):
        return {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}
    if isinstance(value, list | tuple | range):
        return [_plain(key, part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(key, part) for name, part in value.items()}
    raise UserError(
        f"overrides: {key}: got a {type(value).__name__}, expected text, a number, true, false, None, a path or a list"
    )
