"""Writes checkpoints atomically and reads them without executing code; they hold plain types and tensors only."""

import shutil
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.system.files import atomic_write
from maekit.training.run_module import CheckpointDict
from maekit.weights.read.safe_load import load_file

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint to a temporary file, syncs, then replaces the old one; always reads with `weights_only=True`.

    Lightning's own class builds the whole file in memory, and executes code in the files it reads.
    """

    def save_checkpoint(self, checkpoint: CheckpointDict, path: str | Path, storage_options: object = None) -> None:
        """Saves a checkpoint so that `path` is always the old one or the new one.

        Raises:
            UserError: a value that could not be read back, a full disk, or any storage option.
        """
        if storage_options is not None:
            raise UserError("got storage_options for a checkpoint, expected none: only local disks are supported")
        contents = plain(checkpoint)
        with atomic_write(Path(path)) as file:
            _stream(contents, file)

    def load_checkpoint(
        self, path: str | Path, map_location: torch.device | str | None = None, weights_only: bool | None = None
    ) -> CheckpointDict:
        """Reads a checkpoint, to the CPU unless `map_location` is given. `weights_only` is ignored: it is always True.

        Raises:
            UserError: the file is missing, damaged, not a checkpoint, or asks to run code.
        """
        # not mapped from disk: the optimizer keeps these very tensors for the rest of the run
        checkpoint = load_file(path, map_location="cpu" if map_location is None else map_location, mmap=False)
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise UserError(f"{path} is no checkpoint of a run, expected 'state_dict' in it; use it as --model.weights")
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Deletes a checkpoint, a file or the folder of a sharded one, if it is there."""
        path = Path(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def plain(value: object, where: str = "checkpoint") -> object:
    """Copies nested containers into types that `load_file` can read back; tensors are not copied.

    Parameters become tensors, numpy scalars numbers, paths text; named tuples and subclasses of dict and list
    become the plain kind.

    Args:
        value: the value to save.
        where: its place in the checkpoint, for the error message.

    Raises:
        UserError: a value of any other type; with its place and type.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Tensor) and kind in (Tensor, nn.Parameter):
        return value.detach()
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, (list, tuple, set)):
        base = next(base for base in (list, tuple, set) if isinstance(value, base))
        return base(plain(item, f"{where}[{number}]") for number, item in enumerate(value))
    if isinstance(value, np.generic) and type(value.item()) in _PLAIN:
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise UserError(
        f"cannot save {where}: got {kind.__module__}.{kind.__qualname__}, expected tensors, numbers, text and "
        "lists or dicts of them; give those from state_dict() or on_save_checkpoint()"
    )


def _plain_mapping(value: Mapping[Any, object], where: str) -> dict[Any, object]:
    items = {plain(key, f"key {key!r} of {where}"): plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if not isinstance(value, OrderedDict):
        return items
    ordered = OrderedDict(items)
    ordered.__dict__.update(_plain_mapping(vars(value), f"{where}.__dict__"))  # a state_dict's versions, `_metadata`
    return ordered


def _stream(contents: object, file: BinaryIO) -> None:
    """Saves into an open file. torch's zip writer turns an OSError into a RuntimeError; this raises the OSError."""
    handled = sys.exception()
    try:
        torch.save(contents, file)
    except RuntimeError as error:
        hidden = error.__context__
        raise error if hidden is None or hidden is handled else hidden from None
