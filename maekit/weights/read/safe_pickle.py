"""Reads pickles of numpy arrays and plain values, as detectron2 writes them, without running what is in them."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# The types of numpy that hold numbers or text themselves, and no pointers.
_NUMBERS = re.compile(r"[<>|=]?[biufcSU]\d+")


class DType:
    """Stands in for `numpy.dtype` while a pickle is read: keeps its code, makes no numpy object."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = state[1] + self.code


def scalar(dtype: DType, data: bytes) -> object:
    """Stands in for numpy's own scalar constructor, which trusts type and bytes blindly; gives a plain value."""
    return np.frombuffer(data, _code(dtype), count=1)[0].item()


def load_pickle(path: Path) -> object:
    """Reads a pickle of plain values, numpy numbers (as plain values) and numpy arrays (as tensors).

    Names in it are looked up in a short list of our own stand-ins and nowhere else.

    Raises:
        pickle.UnpicklingError: it asks for anything else; `Unsupported global: NAME`.
        Exception: it is damaged; whatever its bytes lead to.
    """
    with path.open("rb") as file:
        return _plain(_Unpickler(file, encoding="latin1").load())


class _Array:
    """Stands in for `numpy.ndarray`: takes its numbers as they are stored."""

    def __init__(self, *_: object) -> None:
        self.tensor: Tensor | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, "F" if fortran else "C")


class Named:
    """What a name in a pickle stands for: it can be called with what the pickle says, and not be changed."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        """Calls what it stands for."""
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a name that is changed")


def _from_buffer(data: bytes, dtype: DType, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.tensor = _tensor(data, dtype, shape, order)
    return array


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Bytes are written so in old protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in '{encoding}'")
    return text.encode("latin1")


_STAND_INS: dict[str, Callable[..., object]] = {
    "numpy.dtype": DType,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": scalar,
    "numpy._core.multiarray.scalar": scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encoded,
    "builtins.bytes": lambda: b"",
    "__builtin__.bytes": lambda: b"",
    "collections.OrderedDict": OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        call = _STAND_INS.get(f"{module}.{name}")
        if call is None:
            raise pickle.UnpicklingError(f"Unsupported global: {module}.{name}")
        return Named(call)


def _code(dtype: DType) -> str:
    if not _NUMBERS.fullmatch(dtype.code):
        raise ValueError(f"numpy type '{dtype.code}'")
    return dtype.code


def _tensor(data: bytes | str, dtype: DType, shape: tuple[int, ...], order: str) -> Tensor:
    stored = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, _code(dtype))
    array = stored.reshape(shape, order="F" if order == "F" else "C")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _plain(value: Any) -> Any:
    """The value with tensors in place of stand-ins, in dicts, lists and tuples at any depth."""
    if isinstance(value, _Array):
        return value.tensor
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (Named, DType)):
        return None
    return value
