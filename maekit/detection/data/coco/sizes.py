"""Sizes of images, read from the pictures where an annotation file lacks them."""

import warnings
from collections.abc import Collection

import numpy as np
from PIL import Image

from maekit.data.images.bands.read import look
from maekit.detection.data.coco.find_images import join
from maekit.errors import UserError
from maekit.system.size import HeightWidth

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap width and height


def fill_sizes(folder: str, names: list[str], absent: Collection[int], sizes: np.ndarray) -> tuple[int, list[str]]:
    """Fills in the sizes that are 0.

    Args:
        folder: of the images.
        names: relative to it, one an image.
        absent: places of images that are not there.
        sizes: [N, 2] height and width, changed in place.

    Returns:
        How many were missing, and one line for each image that cannot be read.
    """
    missing = np.flatnonzero((sizes == 0).any(axis=1)).tolist()
    problems = []
    for index in missing:
        if index not in absent:
            try:
                sizes[index] = upright_size(join(folder, names[index]))
            except UserError as error:
                problems.append(str(error))
    return len(missing), problems


def upright_size(path: str) -> HeightWidth:
    """Returns the size of an image as people see it, turned as its EXIF orientation says.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turned = image.getexif().get(ORIENTATION) in TURNED
                return HeightWidth(image.width, image.height) if turned else HeightWidth(image.height, image.width)
    except Exception:  # of any class: Pillow's readers raise what they stumble over
        form = look(path)  # files that Pillow does not know; it raises a UserError
        return HeightWidth(form.width, form.height) if form.turn in TURNED else HeightWidth(form.height, form.width)
