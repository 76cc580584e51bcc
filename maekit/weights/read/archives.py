"""Archives of arrays that torch.save did not write: numpy's `.npz` and the tensors of a TorchScript program."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maekit.weights.read.safe_pickle import Named

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def load_npz(path: Path) -> dict[str, Tensor]:
    """Reads an archive of numpy arrays without unpickling any; arrays of text are left out.

    Raises:
        Exception: it is damaged, or has arrays of Python objects; whatever numpy says.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: torch.from_numpy(np.array(a, order="C")) for name, a in arrays.items() if a.dtype.kind in "fiub"}


def load_torchscript(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a TorchScript program, by the names of its state dict; its code is neither read nor run.

    Modules are stand-ins that keep what is in them; every other name in the pickle is looked up in a short list.

    Raises:
        pickle.UnpicklingError: it asks for anything else; `Unsupported global: NAME`.
        Exception: it is damaged; whatever its bytes lead to.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(pickled) as file:
            root = _Unpickler(file, archive, pickled.removesuffix(".pkl")).load()
    return dict(_tensors(root, "", set()))


class _Module:
    """Stands in for a module of the program: keeps its attributes by name, and nothing else."""

    inside: Mapping[object, object] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        self.inside = state if isinstance(state, Mapping) else {}


def _tensors(module: object, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yields tensors by name; a module that is held twice, as a crafted program may have, gives its own once."""
    if not isinstance(module, _Module) or id(module) in seen:
        return
    seen.add(id(module))
    for name, value in module.inside.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        yield from _tensors(value, f"{prefix}{name}.", seen)


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """What a program's tensor sees of its storage; torch checks the bounds."""
    return torch.as_strided(storage, size, stride, offset)


def _restored(value: object, _type: str) -> object:
    return value


_STAND_INS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch.jit._pickle.restore_type_tag": _restored,
    **{f"torch.jit._pickle.build_{kind}list": list for kind in ("int", "double", "bool", "tensor")},
    "collections.OrderedDict": OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (call := _STAND_INS.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"Unsupported global: {module}.{name}")
        return Named(call)

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self._archive.read(f"{self._folder}/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
