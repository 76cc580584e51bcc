"""The handwritten digits as small robustness data sets in the true layouts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from maekit.data.digits import IMAGE_SIZE, JPEG_QUALITY, Digit, digits
from maekit.robustness.data.corruptions import corrupt
from maekit.robustness.data.sets import CORRUPTED, cells

DIGITS_FOLDER = "digits-robustness-v1"
HARD_CLASSES, HARD_EACH = (1, 2, 4, 7, 8, 9), 15
REDRAWN_CLASSES, REDRAWN_EACH = (0, 2, 3, 5, 6, 8), 10
SKETCHED_EACH = 15
CORRUPTED_EACH = 2


def write_robustness_digits(folder: Path) -> None:
    """Fills a folder with `imagenet-a`, `imagenet-r`, `sketch` and `imagenet-c`, of the validation digits alone.

    Classes are named as in the digits' ImageNet tree (`n00000003`). `imagenet-a` holds the 15 digits of each of six
    classes that look most like another class; `imagenet-r` inverted, outlined and thickened ones of six; `sketch` the
    edges of 15 of each class; `imagenet-c/<corruption>/<severity 1 to 5>` the same two of each class, corrupted.
    """
    every = list(digits())
    means = [np.mean([d.pixels for d in every if d.label == label and not d.in_val], axis=0) for label in range(10)]
    held_out = [[d for d in every if d.in_val and d.label == label] for label in range(10)]
    for label in HARD_CLASSES:
        hardest = sorted(held_out[label], key=lambda digit: _margin(digit, means))
        for digit in hardest[:HARD_EACH]:
            _save(_picture(digit), folder / "imagenet-a" / _class(digit) / f"{digit.sample:04}_hard.jpg")
    for label in REDRAWN_CLASSES:
        for digit in held_out[label][:REDRAWN_EACH]:
            for style, picture in _renditions(_picture(digit)):
                _save(picture, folder / "imagenet-r" / _class(digit) / f"{style}_{digit.sample}.jpg")
    for digit in (digit for of_class in held_out for digit in of_class[:SKETCHED_EACH]):
        _save(_edges(_picture(digit)), folder / "sketch" / _class(digit) / f"sketch_{digit.sample}.JPEG")
    for cell in (cell for cell in cells() if cell.name == CORRUPTED):
        for digit in (digit for of_class in held_out for digit in of_class[:CORRUPTED_EACH]):
            pixels = corrupt(np.asarray(_picture(digit)), cell.corruption, cell.severity, seed=digit.sample)
            place = folder / "imagenet-c" / cell.corruption / str(cell.severity) / _class(digit)
            _save(Image.fromarray(pixels), place / f"ILSVRC2012_val_{digit.sample:08}.JPEG")


def _margin(digit: Digit, means: list[np.ndarray]) -> float:
    """Returns the distance to the nearest other class's mean less that to its own; a hard digit has a small one."""
    far = [float(np.linalg.norm(digit.pixels - mean)) for mean in means]
    own = far.pop(digit.label)
    return min(far) - own


def _renditions(picture: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    yield "inverted", ImageChops.invert(picture)
    thick = picture.filter(ImageFilter.MaxFilter(5))
    yield "outlined", ImageChops.subtract(thick, picture)
    yield "thickened", thick


def _edges(picture: Image.Image) -> Image.Image:
    """Returns bright lines on black, as chalk, where the picture changes."""
    return ImageChops.subtract(picture.filter(ImageFilter.MaxFilter(3)), picture.filter(ImageFilter.MinFilter(3)))


def _class(digit: Digit) -> str:
    return f"n{digit.label:08}"


def _picture(digit: Digit) -> Image.Image:
    """Returns the digit as the digits' ImageNet tree has it before compression: 32 x 32 RGB."""
    image = Image.fromarray(digit.pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return image.convert("RGB")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "JPEG", quality=JPEG_QUALITY)
