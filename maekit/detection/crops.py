"""Cuts each found object out of its image."""

import math
import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from maekit.base.predict_options import Croppable
from maekit.detection.tags import Box
from maekit.system.size import HeightWidth

FOLDER = "crops"
_LONGEST = 60  # letters of an image's or a class's name in the name of a crop


class ObjectCrops:
    """Writes one PNG an object into the folder `crops`: its number in the table, its image and its class.

    Args:
        folder: of the results; `crops` is made in it, and the crops of an earlier run are removed.
        full_picture: reads an image at its full size; None cuts from the picture at hand, which may be smaller.
    """

    def __init__(self, folder: Path, full_picture: Callable[[Path], Croppable] | None) -> None:
        self.folder, self.full_picture = folder / FOLDER, full_picture
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("[0-9]*_*.png"):
            old.unlink()

    def image(self, file: Path, picture: Image.Image) -> Croppable:
        """Returns what the objects of a file are cut out of."""
        return picture if self.full_picture is None else self.full_picture(file)

    def write(self, image: Croppable, size: HeightWidth, box: Box, number: int, file: Path, name: str) -> str:
        """Writes an object's crop, and returns its path below the folder of the results.

        Args:
            image: of the file, at any resolution.
            size: of the file.
            box: x0 y0 x1 y1 in the pixels of the file; what lies outside the image is cut off.
            number: of the object in the table.
            file: the image's.
            name: of the object's class.
        """
        crop = self.folder / f"{number:06}_{_plain(file.stem)}_{_plain(name)}.png"
        image.crop(inside(box, size, HeightWidth(image.height, image.width))).convert("RGB").save(crop)
        return f"{FOLDER}/{crop.name}"


def inside(box: Box, size: HeightWidth, view: HeightWidth) -> tuple[int, int, int, int]:
    """Returns the whole pixels of a picture that a box touches: left, top, right, bottom, at least one pixel.

    Args:
        box: x0 y0 x1 y1 in the pixels of the file.
        size: of the file.
        view: size of the picture.
    """
    across, down = view.width / size.width, view.height / size.height
    left = min(max(math.floor(box[0] * across), 0), view.width - 1)
    top = min(max(math.floor(box[1] * down), 0), view.height - 1)
    right = min(max(math.ceil(box[2] * across), left + 1), view.width)
    bottom = min(max(math.ceil(box[3] * down), top + 1), view.height)
    return left, top, right, bottom


def _plain(name: str) -> str:
    """Returns a name as part of a file's name that any system takes."""
    return re.sub(r"[^\w.-]+", "-", name)[:_LONGEST].strip("-.") or "object"
