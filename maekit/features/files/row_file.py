"""A .npy file that is appended to row by row, can be resumed after a kill, and ends as numpy would write it."""

import io
import os
from pathlib import Path

import numpy as np

from maekit.errors import UserError


class RowFile:
    """Rows of one shape and type, appended after the bytes reserved for numpy's header.

    It is not memory-mapped: there a full disk would end the process by a signal (SIGBUS); here it is an error.

    Args:
        path: of the unfinished file.
        shape: of one row.
        dtype: of the numbers.
        rows: how many rows of an existing file to keep; the rest is cut off. 0 starts a new file.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, rows: int) -> None:
        self.path, self.shape, self.dtype, self.rows = path, shape, dtype, rows
        try:
            self.file = path.open("r+b" if rows else "w+b")
            self.file.truncate(self._bytes(rows))
            self.file.seek(self._bytes(rows))
        except OSError as error:
            raise self._full(error) from error

    def append(self, rows: np.ndarray) -> None:
        """Appends rows [n, *shape]."""
        try:
            self.file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        except OSError as error:
            raise self._full(error) from error
        self.rows += len(rows)

    def sync(self) -> None:
        """Flushes all rows to the disk (fsync)."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._full(error) from error

    def close(self) -> None:
        """Closes the unfinished file, which can be resumed."""
        self.file.close()

    def finish(self, target: Path) -> None:
        """Writes the header and renames the file to `target`."""
        self.file.seek(0)
        self.file.write(header((self.rows, *self.shape), self.dtype))
        self.sync()
        self.close()
        self.path.replace(target)

    @classmethod
    def holds(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype, rows: int) -> bool:
        """Returns whether an unfinished file has at least that many rows."""
        need = len(header((rows, *shape), dtype)) + rows * int(np.prod(shape)) * dtype.itemsize
        return path.is_file() and path.stat().st_size >= need

    def _bytes(self, rows: int) -> int:
        return len(header((rows, *self.shape), self.dtype)) + rows * int(np.prod(self.shape)) * self.dtype.itemsize

    def _full(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self.path}: {error.strerror or error}; make room, and give the same command again to go on"
        )


def header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Returns the header that numpy writes; its length is the same for any number of rows."""
    buffer = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()
