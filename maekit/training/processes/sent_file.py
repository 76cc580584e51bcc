"""Gives every machine of a run process 0's checkpoint, also where they share no disk."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, distributed

from maekit.errors import UserError
from maekit.training.processes.meeting import control, gathered, joined, on_first, one_outcome

PIECE_BYTES = 64 * 2**20


@contextmanager
def on_this_machine(file: Path, node: int) -> Iterator[Path]:
    """A path of process 0's file on this machine, while the block runs; every process must enter it.

    A file of the same path, size and time of change is the same. A machine without it receives a copy, which goes to
    its folder of temporary files and is removed after the block.

    Args:
        file: the path in process 0.
        node: number of this process's machine.

    Raises:
        UserError: the file cannot be read, or the copy not be written.
    """
    if not joined():
        yield file
        return
    mark = on_first(lambda: _mark(file))
    lacking = gathered((node, _mark(file) != mark))
    if not any(lacks for _, lacks in lacking):
        yield file
        return
    nodes = {number for number, lacks in lacking if lacks}
    writer = node in nodes and [number for number, _ in lacking].index(node) == distributed.get_rank()
    with ExitStack() as stack:
        copy: Path | None = None
        with one_outcome():
            if writer:
                copy = Path(stack.enter_context(_temporary_folder())) / file.name
        _send(file, mark[0] if mark else 0, copy)
        places = {number: place for number, place in gathered((node, copy)) if place is not None}
        yield places.get(node, file)


def _mark(file: Path) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in ns; None without the file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def _temporary_folder() -> Iterator[str]:
    try:
        folder = tempfile.mkdtemp(prefix="maekit-")
    except OSError as error:
        raise UserError(f"no folder for a copy of the checkpoint: {error.strerror}; set TMPDIR to one") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _send(file: Path, size: int, copy: Path | None) -> None:
    """Broadcasts process 0's file piece by piece; a process with a `copy` writes it there."""
    failed: UserError | None = None
    with ExitStack() as stack:
        with one_outcome():
            try:
                source = stack.enter_context(file.open("rb")) if distributed.get_rank() == 0 else None
                target = stack.enter_context(copy.open("wb")) if copy is not None else None
            except OSError as error:
                raise UserError(f"{error.filename}: {error.strerror}, as the checkpoint was sent") from error
        for start in range(0, size, PIECE_BYTES):
            piece = torch.empty(min(PIECE_BYTES, size - start), dtype=torch.uint8)
            if source is not None:
                source.readinto(piece.numpy().data)
            distributed.broadcast(piece, src=0, group=control())
            if target is not None and failed is None:
                failed = _written(target, piece, copy)
    with one_outcome():
        if failed is not None:
            raise failed


def _written(target: IO[bytes], piece: Tensor, copy: Path | None) -> UserError | None:
    try:
        target.write(piece.numpy().data)
    except OSError as error:
        return UserError(f"cannot write {copy}, a copy of the checkpoint: {error.strerror}; set TMPDIR to another disk")
    return None
