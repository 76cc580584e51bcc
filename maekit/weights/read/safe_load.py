"""Reads files of tensors without executing anything in them."""

import json
import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from maekit.errors import UserError, nearest
from maekit.weights.read.archives import load_npz, load_torchscript
from maekit.weights.read.safe_pickle import DType, load_pickle, scalar

_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number that opens such a file
_FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras); convert it to safetensors",
    b"\x80": "a Python pickle of an unknown protocol; convert it to safetensors",
}
_AGAIN = "download or copy it again and compare its size with the source's"


class _Inert:
    """Stands in for objects saved beside weights (loss histories, settings): accepts any arguments and ignores them."""

    def __new__(cls, *_: object, **__: object) -> "_Inert":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def update(self, *_: object) -> None:
        """Takes the items of a dict of settings."""


def _path(*parts: object) -> str:
    """Stands in for the paths of pathlib, which `args` often hold: gives plain text."""
    return "/".join(str(part).rstrip("/") if index or part != "/" else "" for index, part in enumerate(parts)) or "/"


def _inert(*_: object) -> _Inert:
    """Stands in for a function that a pickle asks to call: it is not called."""
    return _Inert()


_PATHS = ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")
# Libraries of settings, whose objects people save in `args` or `config`: they are read as empty ones.
_SETTINGS = re.compile(r"(omegaconf|yacs|easydict|addict|ml_collections|mmengine\.config|mmcv\.utils\.config)\.[\w.]+")
_ALLOWED: list[Any] = [
    (Namespace, "argparse.Namespace"),
    (DType, "numpy.dtype"),
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
    (_Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_Inert, "numpy.ndarray"),
    (_inert, "numpy.core.multiarray._reconstruct"),
    (_inert, "numpy._core.multiarray._reconstruct"),
    *((_path, f"pathlib{inner}.{kind}Path") for inner in ("", "._local") for kind in _PATHS),
    (_inert, "datetime.timedelta"),
    (_inert, "datetime.datetime"),
    (_inert, "builtins.getattr"),
    (_inert, "__builtin__.getattr"),
]


def load_file(path: str | Path, *, map_location: Any = "cpu", mmap: bool = True) -> object:
    """Reads a checkpoint of torch (both formats), safetensors, a pickle or `.npz` of arrays; only builds plain values.

    Those are tensors, also for the numpy arrays of a pickle that torch.save did not write (detectron2's) or of an
    `.npz`, and of a TorchScript program those of its state dict (its code is not run), numbers,
    text, and lists and dicts of them. In files of torch.save, besides its own types `argparse.Namespace` and numpy
    scalars (as plain numbers) are let through, because released files hold them; empty objects stand in for those of
    mmengine's checkpoints. Nothing that a pickle asks to call is called.

    Args:
        path: the file; its content decides the format, not its name.
        map_location: as in torch.load; safetensors always go to the CPU.
        mmap: leave tensors on disk until they are used, where the format allows it. They stay valid when the
            file is replaced or deleted, not when it is overwritten in place.

    Returns:
        What was saved, usually a dict.

    Raises:
        UserError: no such file, a folder, empty, not a checkpoint, cut short, or a pickle that asks for more.
    """
    path = Path(path).expanduser()
    kind = _kind(path)
    try:
        if kind == "safetensors":
            return safetensors.torch.load_file(path)
        if kind == "pickle":
            return load_pickle(path)
        if kind == "zip" and (reader := _other_zip(path)):
            return reader(path)
        stored = kind == "zip" and _torch_zip(path)
        return _torch_load(path, map_location, mmap and bool(stored))
    except UserError:
        raise
    except Exception as error:  # the bytes decide what fails inside the unpickler: KeyError, EOFError, OSError ...
        raise UserError(_why(path, error)) from error


def _torch_load(path: Path, map_location: Any, mmap: bool, settings: tuple[str, ...] = ()) -> object:
    """Reads a file of torch.save; `settings` are the names of objects of libraries of settings in it."""
    allowed = [*_ALLOWED, *((_Inert, name) for name in settings)]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # torch remarks on pickle protocols and typed storages
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        name = _forbidden(error)
        if not _SETTINGS.fullmatch(name) or name in settings:
            raise
        return _torch_load(path, map_location, mmap, (*settings, name))


def read_metadata(path: str | Path) -> dict[str, object]:
    """Returns the metadata of a safetensors file; values that are JSON objects are parsed.

    Empty for files of other formats.

    Raises:
        UserError: as `load_file`.
    """
    path = Path(path).expanduser()
    if _kind(path) != "safetensors":
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except Exception as error:  # the bytes decide what fails
        raise UserError(_why(path, error)) from error
    return {name: _json_table(text) for name, text in metadata.items()}


def _json_table(text: str) -> object:
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _kind(path: Path) -> str:
    """Returns `zip`, `legacy`, `safetensors` or `pickle` by its first bytes; raises UserError for anything else."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise UserError(f"no file {path}{_nearest_file(path)}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, expected a checkpoint file{_one_inside(path)}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its name and permissions") from error
    if not head:
        raise UserError(f"{path} is empty (0 bytes); {_AGAIN}")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(_TORCH_LEGACY):
        return "legacy"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**30:  # the length of its JSON header
        return "safetensors"
    if head[:1] == b"\x80" and 2 <= head[1] <= 5:
        return "pickle"
    raise UserError(f"{path} is not a checkpoint but {_foreign(head)}")


def _one_inside(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if p.suffix in (".pth", ".pt", ".ckpt", ".safetensors", ".pkl"))
    return f"; name one of those in it, such as '{names[0]}'" if names else "; there is no checkpoint in it"


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}; check the path"
    return nearest(path.name, [p.name for p in path.parent.iterdir() if p.name[0] != "."]) or "; check the path"


def _foreign(head: bytes) -> str:
    for start, what in _FOREIGN.items():
        if head.startswith(start):
            return what
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (the download gave an error page); download the file itself"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "a text file; name the file of weights"
    return "something unknown; name a file of torch.save or safetensors"


def _other_zip(path: Path) -> Callable[[Path], dict[str, Tensor]] | None:
    """Returns what reads an archive that torch.save did not write; None for its own and for unknown ones."""
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename.rpartition("/")[2] for entry in archive.infolist()]
    if "constants.pkl" in names:
        return load_torchscript
    return load_npz if names and all(name.endswith(".npy") for name in names) else None


def _torch_zip(path: Path) -> bool:
    """Refuses an archive that torch.save did not write, and says whether it is uncompressed (mmap needs that)."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename.rpartition("/")[2] for entry in entries]
    if "data.pkl" not in names:
        raise UserError(f"{path} is a zip archive that torch.save did not write; convert it to safetensors")
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _why(path: Path, error: Exception) -> str:
    """Explains in one line why a file cannot be read: a name that it may not call, else damage."""
    if name := _forbidden(error):
        return (
            f"{path} asks to call '{name}', expected tensors and plain values only; it was not executed; "
            "get the file from a source you trust, or save the state_dict() alone with torch.save where it was made"
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return f"{path} ({path.stat().st_size:,} bytes) is cut short or damaged ({reason}); {_AGAIN}"


def _forbidden(error: Exception) -> str:
    """Returns the name that a pickle asks to call and may not; empty if something else is wrong."""
    found = re.search(r"(?:Unsupported global|load unsupported GLOBAL)[:\s]+(?:GLOBAL )?(\S+)", str(error))
    return found[1] if found else ""
