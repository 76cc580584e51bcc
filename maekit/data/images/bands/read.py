"""Looks at and reads one image file of any channels, or raises an error of one line."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import UnidentifiedImageError

from maekit.data.images.bands import arrays, pictures, tiff
from maekit.data.images.bands.file_form import FileForm, UnfitError
from maekit.data.images.decode import MEND, PIXEL_LIMIT, pixel_limit
from maekit.errors import UserError

Result = TypeVar("Result")


def look(path: str | Path, count: int | None = None) -> FileForm:
    """Returns what the header of an image file says of its channels.

    Args:
        path: of a picture, a TIFF file or an array (.npy): its first bytes decide, not its name.
        count: the number of channels where it is known, which tells [C, H, W] from [H, W, C].

    Raises:
        UserError: the file is missing, empty, not an image or damaged, or has no channels that can be read.
    """
    return one_line(path, lambda file: _look(file, count))


def read(path: str | Path, count: int | None = None) -> tuple[np.ndarray, FileForm]:
    """Returns all channels of an image file [H, W, C], in its unit, and its form.

    The type is the form's. Pixels are as stored: not turned, nothing is scaled.

    Raises:
        UserError: as `look`, and the file is far too large.
    """
    return one_line(path, lambda file: _read(file, count))


def _look(path: Path, count: int | None) -> FileForm:
    head = _head(path)
    if head.startswith(arrays.MAGIC):
        return arrays.look(path, count)
    return tiff.look(path) if head.startswith(tiff.MAGIC) else pictures.look(path)


def _read(path: Path, count: int | None) -> tuple[np.ndarray, FileForm]:
    form, head = _look(path, count), _head(path)
    _require_size(form)
    if head.startswith(arrays.MAGIC):
        pixels = arrays.read(path, count)
    else:
        pixels = tiff.read(path) if head.startswith(tiff.MAGIC) else pictures.read(path)
    if pixels.shape != (form.height, form.width, form.count):
        raise ValueError(f"its pixels have the shape {list(pixels.shape)}, its header says otherwise")
    return pixels.astype(form.dtype, copy=False), form


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _require_size(form: FileForm) -> None:
    limit, pixels = pixel_limit(), form.height * form.width
    if limit is not None and pixels > limit:
        raise UnfitError(
            f"{form.width:,} x {form.height:,} pixels, the limit is {limit:,}; make it smaller, or set "
            f"{PIXEL_LIMIT}={-(-pixels // 10**6)} to read it"
        )


def one_line(path: str | Path, act: Callable[[Path], Result]) -> Result:
    """Returns what `act` makes of a file.

    Raises:
        UserError: in one line, whatever a decoder raises on a file that is missing, damaged or of another kind.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata do no harm
            return act(Path(path))
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); restore it or list the data again") from None
    except UnfitError as error:
        raise UserError(f"{path}: {error}") from None
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        found = "is an empty file" if empty else "is not an image of a known format, whatever its name"
        raise UserError(f"{path}: {found}; {MEND}") from None
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except Exception as error:  # decoders raise errors of any class on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in reason:
            raise UserError(f"{path}: is compressed in a way that imagecodecs reads; {tiff.INSTALL}") from None
        raise UserError(f"{path}: cannot be read as an image ({reason[:200]}); {MEND}") from None
