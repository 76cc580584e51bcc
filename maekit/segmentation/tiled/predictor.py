"""Segments images that are larger than memory."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from maekit.base.tile_options import TileOptions
from maekit.errors import UserError
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.tiled.bands import Windows
from maekit.segmentation.tiled.labels import Looks, TiledLabels, label_tiled
from maekit.system.size import HeightWidth
from maekit.tiles.thumbnail import shrunk
from maekit.tiles.tiled_image import TiledImage

LARGEST = 2048  # longest side of the picture in pixels; drawing makes several copies of it


@dataclass(frozen=True)
class TiledSegmenter:
    """Labels the pixels of images of any size at a stated scale, not resized to the size that the recipe evaluates at.

    Attributes:
        looks: how the network looks at an image.
        scale: factor by which it sees the file's pixels enlarged.
        evaluated_at: limits of the longer and the shorter side in pixels to which images are fitted elsewhere.
        picture_of: turns pixels [h, w, C] of bands into RGB; None for a model of RGB.
    """

    looks: Looks
    scale: float
    evaluated_at: tuple[int, int]
    picture_of: Callable[[Tensor], Image.Image] | None = None

    @property
    def words(self) -> str:
        """How it looks at an image, for people."""
        window, stride = self.looks.windows.window, self.looks.windows.stride
        seen = "at their own size" if self.scale == 1 else f"at {self.scale:g} of their size"
        fitted = " x ".join(map(str, self.evaluated_at))
        return (
            f"images {seen} (--scale; a validation fits them to {fitted} pixels), in windows of {window.width} x "
            f"{window.height} pixels, each {stride.width} from the next"
        )

    @contextmanager
    def predict(
        self, image: TiledImage, folder: Path, device: torch.device
    ) -> Iterator[tuple[Image.Image, TiledLabels]]:
        """Gives a picture of an open image, no side above 2048 pixels, and its labels, which are in an unnamed file.

        Raises:
            UserError: a tile of the image is damaged.
            OSError: the disk has no room for a byte a pixel.
        """
        needed = image.size.height * image.size.width
        if shutil.disk_usage(folder).free < needed:
            raise OSError(ENOSPC, f"{os.strerror(ENOSPC)}: the labels take {needed / 1e6:,.0f} MB", str(folder))
        with TemporaryFile(dir=folder) as file:
            labels = label_tiled(self.looks, image, self.scale, file, device)
            yield shrunk(image, LARGEST, self.picture_of), labels


def tiled_segmenter(
    logits_of: Callable[[Tensor], Tensor], known: Mapping[str, Any], input: Mapping[str, Any], options: TileOptions
) -> TiledSegmenter:
    """Returns what segments large images with a network.

    Args:
        logits_of: see `Windows`.
        known: `num_classes`, `window`, `stride`, `batch`, `scales` and `flip`, as `windows.predict_labels` has them.
        input: the values of the data's `input_transform()`.
        options: the user's. `tile` is how many columns of the file are worked on at once, on which no label depends;
            windows share `overlap` pixels of the file.

    Raises:
        UserError: the tile is smaller than a window, or the overlap is not.
    """
    scale, window = options.scale or 1.0, HeightWidth(*known["window"])
    seen = round(max(window) / scale)
    if options.tile is not None and options.tile < seen:
        raise UserError(
            f"--tile: got {options.tile}, expected {seen:,} or more: the model sees windows of {max(window)} pixels"
            f"{'' if scale == 1 else f' at scale {scale:g}'}; give --tile {seen}, or leave it out"
        )
    stride = HeightWidth(*known["stride"])
    if options.overlap is not None:
        if options.overlap * scale >= min(window):
            raise UserError(
                f"--overlap: got {options.overlap}, expected less than the model's window of "
                f"{round(min(window) / scale):,} pixels; leave it out for the overlap that the model is evaluated with"
            )
        stride = HeightWidth(*(max(1, round(side - options.overlap * scale)) for side in window))
    transform = SegEvalTransform(**input)
    looks = Looks(
        Windows(logits_of, known["num_classes"], window, stride, known["batch"]),
        transform.normalise.planes,
        known.get("scales", (1.0,)),
        known.get("flip", False),
        options.tile,
    )
    fitted = max(transform.resize), min(transform.resize)
    return TiledSegmenter(looks, scale, fitted, transform.normalise.picture)
