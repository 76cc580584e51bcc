"""Reading one image file as 8-bit RGB, whatever it holds, or saying in one line why it cannot be read."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from maekit.errors import UserError

MEND = "replace or remove it (`maekit data check` lists all such files)"


def read_image(path: str | Path) -> Image.Image:
    """Reads the first frame of an image file as 8-bit RGB.

    Grey, 1-bit, palette and CMYK become RGB; alpha is dropped; 16-bit grey is scaled to 8 bit; the EXIF orientation is
    ignored. All as torchvision's ImageFolder does, with which the published numbers were made, except 16-bit grey,
    which Pillow alone would clip to white.

    Raises:
        UserError: the file is missing, empty, not an image, truncated, corrupt, or far too large.
    """
    # Another library may have switched this on; a half-grey picture must not pass as a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF data and sizes short of Pillow's limit do no harm
            with Image.open(path) as image:
                return _rgb(image)
    except UnidentifiedImageError:
        raise UserError(_not_an_image(Path(path))) from None
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); restore it or list the data again") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as an image ({reason}); {MEND}") from None


def upright(image: Image.Image) -> Image.Image:
    """Returns an image turned as its EXIF orientation says; broken EXIF data say nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises whatever it stumbles over
        return image


def _not_an_image(path: Path) -> str:
    found = "is an empty file" if path.stat().st_size == 0 else "is not an image of a known format, whatever its name"
    return f"{path}: {found}; {MEND}"


def _rgb(image: Image.Image) -> Image.Image:
    """Converts any Pillow mode to RGB; the result no longer needs the file."""
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):
        image = _eight_bit(np.asarray(image))
    elif image.mode == "F":
        raise ValueError("float pixels have no agreed white; save it with 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _eight_bit(pixels: np.ndarray) -> Image.Image:
    """Scales [H, W] 0..65535 to 0..255, rounding to the nearest."""
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("32-bit pixels have no agreed white; save it with 8 or 16 bits")
    return Image.fromarray(((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
