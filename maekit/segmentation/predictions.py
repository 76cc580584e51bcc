"""What `maekit predict` writes for semantic segmentation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.base.result_places import ResultPlaces
from maekit.data.images.decode import upright
from maekit.drawing.legend import LARGEST, Colour
from maekit.segmentation.pictures import Labels, check_palette, overlay


class Sample(NamedTuple):
    """An image on its way through the model: pixels [3, H, W], a picture of it, height and width as seen."""

    pixels: Tensor
    picture: Image.Image
    size: tuple[int, int]


class SegmentationWriter:
    """Two PNGs for each image: `<name>.png` for people, and `<name>_labels.png`, the labels at the file's own size.

    The labels' PNG holds a byte a pixel, the label itself, and shows the class colours in a viewer (palette mode P).
    Results lie below the folder as the images lie below their common parent, which is known only when the last image
    came: where a later image lies outside it, the results so far move one folder down.

    Args:
        folder: where the results go; no image may lie in it or below it.
        class_names: one a class, in label order; at most 255.
        palette: one colour a class.
        transform: an RGB image to the model's pixels [3, H, W].
        labels_of: pixels [3, H, W] on the device, and the file's height and width, to labels, int64 [h, w].

    Raises:
        UserError: more classes than a byte has, or not as many colours as names.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        palette: Sequence[Colour],
        transform: Callable[[Image.Image], Tensor],
        labels_of: Callable[[Tensor, tuple[int, int]], Tensor],
    ) -> None:
        check_palette(palette, class_names)
        self.names, self.palette, self.transform, self.labels_of = class_names, palette, transform, labels_of
        self.places = ResultPlaces(folder, ("", "_labels"))

    def prepare(self, image: Image.Image) -> Sample:
        """Returns what is kept of a file until its batch is predicted; a large image is kept small.

        A photograph is turned as its EXIF orientation says, so labels lie as people see it.
        """
        picture = upright(image).convert("RGB")
        pixels, size = self.transform(picture), (picture.height, picture.width)
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        return Sample(pixels, picture, size)

    def write(self, files: Sequence[Path], samples: Sequence[Sample], device: torch.device) -> None:
        """Predicts and writes each image of a batch, one after the other, since sizes differ.

        Raises:
            UserError: an image lies in the folder of the results.
        """
        for file, sample in zip(files, samples, strict=True):
            labels: Labels = self.labels_of(sample.pixels.to(device), sample.size).cpu().numpy()
            picture_file, labels_file = self.places.take(file)
            overlay(sample.picture, labels, self.palette, self.names).save(picture_file)
            indexed = Image.fromarray(labels.astype(np.uint8))
            indexed.putpalette(np.asarray(self.palette, dtype=np.uint8).tobytes())
            indexed.save(labels_file)

    def close(self) -> Path:
        """Returns the folder."""
        return self.places.folder
