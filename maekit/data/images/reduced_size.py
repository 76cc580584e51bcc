"""By how much a JPEG may be made smaller while it is decoded: libjpeg computes 1/2, 1/4 or 1/8 of the pixels a side.

Of a photograph of 12 megapixels a model is given 0.05. At 1/8 decoding takes a third to a sixth of the time; what is
left is reading the entropy code, which cannot be skipped.
"""

import warnings
from pathlib import Path
from typing import Literal

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from maekit.system.size import HeightWidth

FACTORS = (8, 4, 2)
# Start-of-frame markers hold the size; 0xC4, 0xC8 and 0xCC of that range are something else.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
END_OF_IMAGE, TAIL_BYTES = b"\xff\xd9", 64
# A block's mean is a coarser filter than the bicubic one that follows it. On scikit-learn's photographs, full of
# detail, a picture decoded at exactly the size that is needed differs by 1.2 to 3.2 of 255 levels from one decoded in
# full, at 1.5 times that size by 0.8 to 1.7, at twice by 0.5 to 1.1. (Bilinear differs from bicubic by 1.0 to 2.8.)
MARGIN = 1.5
LARGE = 5  # times the model's image size: from here on most crops can be decoded at half the size or less
ReducedDecode = Literal["never", "train", "always"]
ReducedTraining = Literal["never", "train"]
"""For detection, whose evaluation and predictions draw on the full picture.

Segmentation has no such switch: its published resizing, OpenCV's bilinear filter, does not average, so a reduced
picture differs by 10 of 255 levels, and training would see smoother pictures than evaluation.
"""


def decode_note(reduced_decode: ReducedDecode, jpeg_side: int, image_size: int) -> str:
    """Returns the part of a data line that says whether JPEGs are decoded at a reduced size; empty if it is no matter.

    Args:
        reduced_decode: the flag's value.
        jpeg_side: usual pixels of the shorter side of the JPEGs; 0 if unknown.
        image_size: pixels of a side that the model is given.
    """
    if reduced_decode != "never":
        where = "in training" if reduced_decode == "train" else "in training and evaluation"
        return f"JPEGs are decoded at up to 1/8 of their size {where} (data.reduced_decode {reduced_decode})"
    if jpeg_side < LARGE * image_size:
        return ""
    advice = "--data.reduced_decode train loads them about twice as fast"
    return f"the JPEGs are large, {jpeg_side:,} pixels on the shorter side: {advice}"


def largest_factor(ratio: float) -> int:
    """Returns the largest of 8, 4, 2 and 1 that leaves `MARGIN` times the pixels a side that are needed.

    Args:
        ratio: pixels a side of the full picture, by those that are needed.
    """
    return next((factor for factor in FACTORS if factor * MARGIN <= ratio), 1)


def short_side(image_size: int, crop_fraction: float) -> int:
    """Returns the pixels of the short side from which evaluation cuts a square of `image_size`."""
    return int(image_size / crop_fraction)


def whole_factor(path: str | Path, least: int) -> int:
    """Returns the reduction for a picture that is used whole: 8, 4, 2, or 1 to decode it in full.

    Args:
        path: of the file.
        least: pixels of the shorter side that are needed.
    """
    size = jpeg_size(path)
    return 1 if size is None else divisor_of(size, min(size) / least)


def annotated_factor(path: str | Path, size: HeightWidth, ratio: float) -> int:
    """Returns the reduction for a picture with annotations in its own pixels: 8, 4, 2, or 1 to decode it in full.

    Args:
        path: of the file.
        size: that the annotations are of, turned or not; a picture of another size is decoded in full.
        ratio: pixels a side of the full picture, by those that are needed.
    """
    factor = divisor_of(size, ratio)
    if factor == 1:
        return 1
    stored = jpeg_size(path)
    return factor if stored is not None and sorted(stored) == sorted(size) else 1


def jpeg_size(path: str | Path) -> HeightWidth | None:
    """Returns the size of a JPEG as it is stored; None for another format, and for what cannot be opened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return HeightWidth(image.height, image.width) if isinstance(image, JpegImageFile) else None
    except Exception:  # `read_image` says what is wrong with it
        return None


def shortened(data: bytes, rows: int) -> bytes:
    """Returns a JPEG that ends after so many rows: its decoder then leaves out the entropy code of all rows below.

    Only the height in the frame's header is changed. A file that may be truncated is returned as it is, so that
    decoding refuses it.
    """
    place = 2
    while END_OF_IMAGE in data[-TAIL_BYTES:] and place + 9 < len(data) and data[place] == 0xFF:
        if data[place + 1] in FRAMES:
            return data[: place + 5] + rows.to_bytes(2) + data[place + 7 :]
        place += 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
    return data


def divisor_of(size: HeightWidth, ratio: float) -> int:
    """Returns the largest of 8, 4 and 2 that divides both sides and leaves `MARGIN` times what is needed; else 1.

    With a factor that divides both sides each small pixel is one square of large ones, and a shape that is given in the
    full picture's pixels lies where it did.
    """
    return next((f for f in FACTORS if f * MARGIN <= ratio and not (size.height % f or size.width % f)), 1)


def full_size(image: Image.Image, factor: int) -> HeightWidth:
    """Returns the size of a picture that was decoded at 1/factor, which divides both sides."""
    return HeightWidth(image.height * factor, image.width * factor)
