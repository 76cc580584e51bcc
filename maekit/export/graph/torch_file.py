"""Writes and opens a traced program in torch.export's own format, `.pt2`."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor
from torch.export import ExportedProgram

from maekit.errors import UserError
from maekit.export.graph.metadata import KEY, read_metadata, require_sides
from maekit.system.remarks import without_remarks


def write_torch(program: ExportedProgram, path: Path, metadata: Mapping[str, object]) -> None:
    """Writes a program, with its metadata as the extra file `maekit`.

    Raises:
        UserError: torch cannot write what was traced.
        OSError: the disk is full.
    """
    with path.open("wb") as file:
        given = _Unfailing(file)
        try:
            torch.export.save(program, cast(BinaryIO, given), extra_files={KEY: json.dumps(metadata)})
        except Exception as error:  # whatever the serialisation of an operator or an output raises
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"torch {torch.__version__} cannot write the traced model: {first}; try --to onnx"
            ) from error
        if given.error is not None:
            raise given.error


class _Unfailing(io.RawIOBase):
    """A file for torch's archive writer, whose destructor writes the rest: a second error there ends the process.

    Args:
        file: what is written to, until it fails.

    Attributes:
        error: the first error of a write; what comes after it goes nowhere.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, piece: Any) -> int:
        """Returns the piece's length."""
        try:
            if self.error is None:
                self.file.write(piece)
        except OSError as error:
            self.error = error
        return len(piece)

    def writable(self) -> bool:
        """Returns true, as torch asks of a file."""
        return True

    def seekable(self) -> bool:
        """Returns true, as torch asks of a file."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to a place, which torch does when all is written."""
        return self.file.seek(offset, whence)


class TorchModel:
    """A `.pt2` file that runs without the model's code.

    Args:
        path: the file.

    Raises:
        UserError: it is no such file, or none of maekit.
    """

    def __init__(self, path: Path) -> None:
        extra = {KEY: ""}
        try:
            with without_remarks():  # torch logs the whole trace of what it raises
                program = torch.export.load(str(path), extra_files=extra)
        except (RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is no file of torch.export, or damaged; export the run again") from error
        if not extra[KEY]:
            raise UserError(f"{path} is a program of torch.export that maekit did not write; export the run again")
        self.path, self.metadata = path, read_metadata(extra[KEY], path)
        self.module = program.module()

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Returns the outputs by name, on the CPU, of images [B, C, H, W], normalised, and what goes with them.

        Raises:
            UserError: they are of a size that the file does not take.
        """
        require_sides(self.metadata, inputs[0].shape, self.path)
        try:
            with torch.no_grad():
                found = self.module(*inputs)
        except (AssertionError, RuntimeError) as error:  # of torch's guards, by its version
            shape, first = "x".join(map(str, inputs[0].shape)), str(error).strip().splitlines()[0][:200]
            sides = " x ".join(map(str, self.metadata["image_size"]))
            raise UserError(
                f"{self.path}: got images {shape}, expected {sides} pixels (the size is {self.metadata['size']}), "
                f"which it was exported for: {first}"
            ) from error
        return dict(zip(self.metadata["outputs"], found, strict=True))
