"""Batches as plain values, for a file that is read without executing anything in it, and back."""

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maekit.errors import UserError

_SCALARS = (type(None), bool, int, float, str, bytes)


def pack(value: object) -> Any:
    """Returns a batch as plain values, its tensors copied to the CPU.

    Tensors and single values stay what they are; all else is `[kind, contents]` with the kinds `list`, `tuple`,
    `dict`, `numpy`, and `fields` for named tuples and dataclasses, with the place of their class.

    Raises:
        UserError: it holds something else.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if type(value) in _SCALARS:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return ["numpy", torch.from_numpy(value.copy())]
    if isinstance(value, Mapping):
        return ["dict", [[pack(key), pack(item)] for key, item in value.items()]]
    if (names := _field_names(value)) is not None:
        kind = type(value)
        return ["fields", kind.__module__, kind.__qualname__, {name: pack(getattr(value, name)) for name in names}]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [pack(item) for item in value]]
    raise UserError(
        f"a batch holds a {type(value).__name__}, expected tensors, arrays, numbers, text and lists of them"
    )


def unpack(value: Any) -> Any:
    """Returns what `pack` was given, on the CPU.

    A class is only taken from maekit, or from a module that has been imported already, as that of the user's task.

    Raises:
        UserError: it is no packed batch, or a class is not there.
    """
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "numpy":
        array: np.ndarray = rest[0].numpy()
        return array
    if kind == "dict":
        return {unpack(key): unpack(item) for key, item in rest[0]}
    if kind in ("list", "tuple"):
        items = [unpack(item) for item in rest[0]]
        return items if kind == "list" else tuple(items)
    if kind == "fields":
        module, name, contents = rest
        return _class_of(module, name)(**{key: unpack(item) for key, item in contents.items()})
    raise UserError(f"the batch holds a value of kind {kind!r}, expected one that this version of maekit writes")


def tensors_of(value: object, name: str = "") -> list[tuple[str, Tensor]]:
    """Returns the floating-point tensors in nested values, with their places, such as `image` or `boxes[2]`."""
    if isinstance(value, Tensor):
        return [(name, value)] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        pairs = [(f"{name}.{key}".lstrip("."), item) for key, item in value.items()]
    elif (names := _field_names(value)) is not None:
        pairs = [(f"{name}.{key}".lstrip("."), getattr(value, key)) for key in names]
    elif isinstance(value, list | tuple):
        pairs = [(f"{name}[{place}]", item) for place, item in enumerate(value)]
    else:
        return []
    return [found for place, item in pairs for found in tensors_of(item, place)]


def moved(value: Any, device: torch.device, dtype: torch.dtype, kept: tuple[str, ...] = ()) -> Any:
    """Returns nested values with their tensors on a device, floating-point ones in `dtype`.

    Args:
        value: of `unpack`.
        device: where to.
        dtype: of floating-point tensors.
        kept: fields of the batch that stay on the CPU.
    """
    if isinstance(value, Tensor):
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)
    if isinstance(value, dict):
        return {key: moved(item, device, dtype) for key, item in value.items()}
    if (names := _field_names(value)) is not None:
        new = {n: getattr(value, n) if n in kept else moved(getattr(value, n), device, dtype) for n in names}
        return type(value)(**new)
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device, dtype) for item in value)
    return value


def _field_names(value: object) -> tuple[str, ...] | None:
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(one.name for one in fields(value) if one.init)
    names: tuple[str, ...] | None = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    return names


def _class_of(module: str, name: str) -> Any:
    loaded = sys.modules.get(module)
    if loaded is None and (module == "maekit" or module.startswith("maekit.")):
        try:
            loaded = import_module(module)
        except ImportError:
            loaded = None
    found = vars(loaded).get(name) if loaded is not None else None
    if not isinstance(found, type) or not (
        is_dataclass(found) or (issubclass(found, tuple) and "_fields" in vars(found))
    ):
        raise UserError(f"its batch is a {module}.{name}, which this maekit and its task do not have")
    return found
