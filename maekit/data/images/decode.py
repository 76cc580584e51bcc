"""Reads one image file of any kind as 8-bit RGB, or raises an error of one line."""

import os
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from maekit.data.images.deep_colour import deep_mode, deep_pixels
from maekit.data.images.reduced_size import shortened, whole_factor
from maekit.errors import UserError
from maekit.system.size import HeightWidth

MEND = "replace or remove it (`maekit data check` lists all such files)"
FULL_RANGE = 65535
ORIENTATION = 0x0112  # EXIF
PIXEL_LIMIT = "MAEKIT_MAX_MEGAPIXELS"
SAY_WHITE = "say which value is white: --data.white N in training, or save it with 8 bits"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class PlainError(ValueError):
    """A fault that a user can mend in a file that is not damaged. The text says how, so no advice is added."""


@dataclass(frozen=True)
class Reading:
    """How files become 8-bit RGB.

    Attributes:
        upright: turn a picture by its EXIF orientation, as every viewer does; False leaves it as it is stored, as
            torchvision's ImageFolder does, with which the published numbers were made.
        white: the value that becomes 255 in pictures of more than 8 bits a channel; None is 65,535 for whole numbers,
            and float pictures are refused.
        clip: brighter values become white; False refuses a picture that has some.
        least: pixels of the shorter side that are needed: larger JPEGs are decoded at 1/2, 1/4 or 1/8 of their size
            (`whole_factor`); None decodes every picture in full.
    """

    upright: bool = True
    white: float | None = None
    clip: bool = False
    least: int | None = None

    def plain(self) -> dict[str, float]:
        """Returns what a checkpoint records of white: `white` and `clip`, or nothing where `white` is None."""
        return {} if self.white is None else {"white": self.white, "clip": self.clip}

    def __call__(self, path: str | Path) -> Image.Image:
        """Reads an image file; see `read_image`."""
        factor = 1 if self.least is None else whole_factor(path, self.least)
        image = read_image(path, self.white, clip=self.clip, factor=factor)
        return upright(image) if self.upright else image


UPRIGHT = Reading()


def read_image(
    path: str | Path, white: float | None = None, *, clip: bool = False, factor: int = 1, rows: int | None = None
) -> Image.Image:
    """Reads the first frame of an image file as 8-bit RGB, as it is stored: `upright` turns it.

    Grey, 1-bit, palette and CMYK become RGB. Alpha is dropped, so that hidden colours appear, as with torchvision's
    ImageFolder, with which the published numbers were made. More than 8 bits are scaled to 8, where Pillow alone would
    clip grey, and take the upper 8 bits of colours.

    Args:
        path: of the file.
        white: see `Reading`.
        clip: see `Reading`.
        factor: 2, 4 or 8 decodes a JPEG at that part of its size, its sides rounded up.
        rows: of a JPEG, counted at its full size: those below are left out; None for all.

    Raises:
        UserError: the file is missing, empty, not an image, truncated, corrupt or far too large, or it is unknown which
            value is white.
    """
    # Another library may have switched this on; a truncated picture must not be read as a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    set_pixel_limit()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF data and sizes short of Pillow's limit do no harm
            with open_image(path) if rows is None else _open_rows(path, rows) as image:
                if factor > 1:
                    # libjpeg then computes 8/factor pixels of each block of 8. Pillow takes the largest of 8, 4, 2 that
                    # leaves this size.
                    image.draft(None, (image.width // factor, image.height // factor))
                return _rgb(image, path, white, clip)
    except UnidentifiedImageError:
        raise UserError(_not_an_image(Path(path))) from None
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); restore it or list the data again") from None
    except Image.DecompressionBombError:
        raise UserError(_too_large(path)) from None
    except PlainError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise errors of any class on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as an image ({reason}); {MEND}") from None


def open_image(path: str | Path) -> Image.Image:
    """Opens a file with Pillow, and with pillow-heif if it is a HEIC picture and the extra is installed.

    Raises:
        UserError: it is a HEIC picture, and the extra is not installed.
        UnidentifiedImageError: it is not an image; and whatever else Pillow raises.
    """
    try:
        image = Image.open(path)
        if image.format == "TIFF" and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8):
            # Pillow 13 maps an uncompressed file of that name into memory with height and width exchanged.
            image.close()
            return Image.open(BytesIO(Path(path).read_bytes()))
        return image
    except UnidentifiedImageError:
        with Path(path).open("rb") as file:
            head = file.read(12)
        if head[4:8] != b"ftyp" or head[8:12] not in HEIC_BRANDS:
            raise
    try:
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise PlainError("is a HEIC picture; pip install 'maekit[heic]' to read it, or convert it") from None
    register_heif_opener()
    return Image.open(path)


def _open_rows(path: str | Path, rows: int) -> Image.Image:
    return Image.open(BytesIO(shortened(Path(path).read_bytes(), rows)))


def upright(image: Image.Image) -> Image.Image:
    """Returns an image turned by its EXIF orientation; broken EXIF data are ignored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises errors of any class on broken EXIF data
        return image


def orientation(image: Image.Image) -> int:
    """Returns an opened image's EXIF orientation, 1 to 8; 1 if it has none or it is broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # as above
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def set_pixel_limit() -> None:
    """Sets Pillow's limit, which guards against files that decompress to fill the memory, from the environment."""
    given = os.environ.get(PIXEL_LIMIT)
    if given:
        try:
            Image.MAX_IMAGE_PIXELS = int(float(given) * 1e6 / 2)  # Pillow refuses at twice this number
        except (ValueError, OverflowError):
            raise UserError(f"{PIXEL_LIMIT}: got '{given}', expected a number of megapixels such as 500") from None


def pixel_limit() -> int | None:
    """Returns the largest number of pixels that is decoded whole: the environment's, else Pillow's; None for any."""
    set_pixel_limit()
    return None if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def _too_large(path: str | Path) -> str:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            size, pixels = f"{image.width:,} x {image.height:,}", image.width * image.height
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    need, most = -(-pixels // 10**6), f"{2 * (limit or 0):,}"
    return f"{path}: {size} pixels, the limit is {most}; make it smaller, or set {PIXEL_LIMIT}={need} to read it"


def _not_an_image(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith((b"\x93NUMPY", b"II", b"MM\0")):
        kind = "a NumPy array" if b"NUMPY" in head else "a TIFF file that is no 8-bit picture"
        return f"{path}: is {kind}; --data.bands NAMES, or their number, trains on such files"
    found = "is an empty file" if path.stat().st_size == 0 else "is not an image of a known format, whatever its name"
    return f"{path}: {found}; {MEND}"


def _rgb(image: Image.Image, path: str | Path, white: float | None, clip: bool) -> Image.Image:
    """Converts any Pillow mode to RGB; the result no longer needs the file."""
    deep = deep_mode(image)
    image.load()
    if deep:
        pixels = deep_pixels(path, deep)
        colours = eight_bit(pixels[..., 0] if deep == "LA" else pixels[..., :3], white, clip).convert("RGB")
        return _with_orientation(colours, orientation(image))
    if image.mode == "RGB":
        return image
    if image.mode[0] in "IF":
        turned = orientation(image)  # after loading: Pillow turns a TIFF itself, and then reports 1
        return _with_orientation(eight_bit(np.asarray(image), white, clip).convert("RGB"), turned)
    return (image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image).convert("RGB")


def _with_orientation(image: Image.Image, turn: int) -> Image.Image:
    image.getexif()[ORIENTATION] = turn
    return image


def eight_bit(pixels: np.ndarray, white: float | None, clip: bool) -> Image.Image:
    """Returns the image of [H, W] or [H, W, 3] of 0..white, scaled to 0..255 and rounded to the nearest.

    Args:
        pixels: of more than 8 bits, whole or fractional.
        white: see `Reading`.
        clip: see `Reading`.

    Raises:
        PlainError: a value is negative, NaN or brighter than white.
    """
    low, high = pixels.min(), pixels.max()
    if np.isnan(low) or low < 0:
        found = "NaN" if np.isnan(low) else f"{low:,}"
        raise PlainError(f"its lowest pixel is {found}, expected 0 or more; save it without negative values and NaN")
    if white is None and pixels.dtype.kind == "f":
        raise PlainError(f"float pixels up to {high:g}; {SAY_WHITE}")
    top = FULL_RANGE if white is None else white
    if high > top and not clip:
        raise PlainError(f"its brightest pixel is {high:,}, above {top:,g}, which is white here; {SAY_WHITE}")
    if top == FULL_RANGE and pixels.dtype.kind != "f":
        scaled = (np.minimum(pixels, FULL_RANGE).astype(np.uint32) * 255 + 32767) // 65535
    else:
        scaled = np.floor(np.minimum(pixels.astype(np.float64), top) * 255 / top + 0.5)
    return Image.fromarray(scaled.astype(np.uint8))


def stored_size(path: str | Path) -> HeightWidth:
    """Returns the size in pixels of a file that is known to be an image, as it is stored: not turned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return HeightWidth(image.height, image.width)
