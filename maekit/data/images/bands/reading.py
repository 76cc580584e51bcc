"""Reads the bands of an image file that a model is given."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.file_form import FileForm
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.bands.read import look, read
from maekit.data.images.fast_decode import turned
from maekit.errors import UserError
from maekit.system.numbers import plural
from maekit.system.size import HeightWidth


@dataclass(frozen=True)
class BandReading:
    """How files become the bands of a model, in the unit of the file.

    Attributes:
        bands: which, of which channels.
        upright: turn a picture by its EXIF orientation.
    """

    bands: Bands
    upright: bool = True

    def plain(self) -> dict[str, float]:
        """Returns what a checkpoint records besides `Bands.plain`: nothing."""
        return {}

    def __call__(self, path: str | Path) -> Tensor:
        """Returns the bands [H, W, C], uint8 of files of 8 bits, else float32.

        Pixels that the file itself marks as without a value are the mean of their band.

        Raises:
            UserError: the file cannot be read, has other channels or numbers than the data, NaN or an infinity.
        """
        pixels, form = read(path, len(self.bands.file_names))
        require_alike(path, form, self.bands.file_names, self.bands.dtype)
        tensor = self.chosen(path, pixels, form)
        return turned(tensor, form.turn).contiguous() if self.upright else tensor

    def chosen(
        self, path: str | Path, pixels: np.ndarray, form: FileForm, *, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Returns the bands [h, w, C] of all channels [h, w, S] of a file or of a part of it, as they are stored.

        Args:
            path: of the file, for errors.
            pixels: in the type of `form`.
            form: of the file.
            corner: row and column of the part in the file.

        Raises:
            UserError: a value is NaN or infinite.
        """
        places = [self.bands.file_names.index(name) for name in self.bands.names]
        chosen = pixels if places == list(range(form.count)) else pixels[..., places]
        if form.nodata is not None:
            chosen = self._filled(chosen, form.nodata)
        if form.dtype == "float32":
            require_finite(path, chosen, self.bands.names, corner)
        kept = chosen if form.dtype == "uint8" else chosen.astype(np.float32)
        return torch.from_numpy(np.require(kept, requirements=["C", "W"]))

    def sizes(self, path: str | Path) -> tuple[HeightWidth, HeightWidth]:
        """Returns the size of an image after its EXIF rotation, and the size it is stored in, from its header alone."""
        form = look(path, len(self.bands.file_names))
        stored = HeightWidth(form.height, form.width)
        return (HeightWidth(form.width, form.height) if form.turn >= 5 else stored), stored

    def fitting(self, path: str | Path, size: HeightWidth) -> Tensor:
        """Returns the bands turned upright, unless only the image as it is stored has the size of its annotations."""
        image = replace(self, upright=True)(path)
        if size_of(image) == size:
            return image
        stored = replace(self, upright=False)(path)
        return stored if size_of(stored) == size else image

    def _filled(self, pixels: np.ndarray, nodata: float) -> np.ndarray:
        mean = np.array(self.bands.mean)
        fill = mean if pixels.dtype == np.float32 else np.rint(mean)
        return np.where(is_nodata(pixels, nodata), fill, pixels).astype(pixels.dtype)


def is_nodata(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """Returns where pixels have the number that marks those without a value, which may be NaN."""
    number = np.float32(nodata) if pixels.dtype == np.float32 else nodata
    return np.asarray(np.isnan(pixels) if np.isnan(nodata) else pixels == number)


def require_alike(path: str | Path, form: FileForm, file_names: tuple[str, ...], dtype: str) -> None:
    """Refuses a file of other channels or numbers than those of the data.

    Raises:
        UserError: names the file.
    """
    if form.count != len(file_names):
        raise UserError(
            f"{path}: {plural(form.count, 'channel')}, expected {len(file_names)} "
            f"({', '.join(file_names)}); save it with all of them, or remove it"
        )
    if form.dtype != dtype:
        raise UserError(f"{path}: numbers of type {form.dtype}, expected {dtype}; save all files alike")
    own = {name for name in form.names if name}
    if own <= set(file_names) and any(
        name not in ("", other) for name, other in zip(form.names, file_names, strict=True)
    ):
        raise UserError(
            f"{path}: channels {', '.join(form.names)}, expected the order {', '.join(file_names)}; save it so"
        )


def require_finite(
    path: str | Path, pixels: np.ndarray, names: tuple[str, ...], corner: tuple[int, int] = (0, 0)
) -> None:
    """Refuses NaN and infinities in [H, W, C], whose first pixel is at the row and column `corner` of the file.

    Raises:
        UserError: names the file, the band and the place.
    """
    finite = np.isfinite(pixels)
    if finite.all():
        return
    row, column, channel = (int(place[0]) for place in np.nonzero(~finite))
    found = pixels[row, column, channel]
    raise UserError(
        f"{path}: band {names[channel]} is {found} at row {corner[0] + row}, column {corner[1] + column} "
        f"({plural(int((~finite).sum()), 'such number')}), expected finite ones; fill them, or remove the file"
    )
