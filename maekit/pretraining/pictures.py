"""Pictures of what a masked autoencoder makes of images: original, masked, reconstruction, both together."""

from collections.abc import Sequence
from math import isqrt

from PIL import Image
from torch import Tensor

from maekit.data.images.transforms import Normalise
from maekit.drawing import sheet
from maekit.drawing.views import fitted
from maekit.pretraining.reconstruction import Reconstruction

HEADS = ("original", "masked", "reconstruction", "reconstruction + visible")
CELL, LARGE_CELL = 224, 448  # an image's longest side in pixels, where it is one of many and where it is alone
_NARROWEST = 144  # width of a column in pixels

Row = tuple[Image.Image, ...]


def contact_sheet(r: Reconstruction, headings: Sequence[str] | None = None) -> Image.Image:
    """Returns one picture with a row for each image: original, masked, reconstruction, reconstruction + visible.

    Large images are shrunk to 224 pixels, small ones are enlarged by a whole factor, pixel by pixel.

    Args:
        r: of B images.
        headings: B lines, one above each row; default: the PSNR of each.

    Raises:
        ValueError: not as many headings as images.
    """
    lines = [decibels(float(value)) for value in r.psnr] if headings is None else headings
    return sheet_of([row_of(r, index) for index in range(len(r.original))], lines)


def training_sheet(images: Sequence[Image.Image], hidden: Tensor) -> Image.Image:
    """Returns one picture of training images, each with what is seen of it beside it, two in a row.

    Args:
        images: B of one size, RGB.
        hidden: bool [B, N], the patches that are hidden, which are painted grey.
    """
    tiles = []
    for image, patches in zip(images, hidden, strict=True):
        side = isqrt(image.width * image.height // len(patches))
        grid = patches.view(image.height // side, image.width // side).byte().mul(255).cpu().numpy()
        mask = Image.fromarray(grid).resize(image.size, Image.Resampling.NEAREST)
        seen = Image.composite(Image.new("RGB", image.size, (128, 128, 128)), image, mask)
        tiles += [sheet.Tile(fitted(image, CELL)), sheet.Tile(fitted(seen, CELL))]
    rows = [sheet.Row("", tiles[first : first + 4]) for first in range(0, len(tiles), 4)]
    return sheet.picture_sheet(
        rows, heads=("image", "seen") * 2 if len(tiles) > 2 else ("image", "seen"), column=_NARROWEST
    )


def picture_of(r: Reconstruction, index: int, heading: str = "") -> Image.Image:
    """Returns one image of `r` in one row, up to 448 pixels large, below a heading if one is given."""
    return sheet_of([row_of(r, index, LARGE_CELL)], [heading])


def row_of(r: Reconstruction, index: int, largest: int = CELL) -> Row:
    """Returns the four pictures of one image, none of their sides over `largest` pixels."""
    images = (r.original, r.masked, r.prediction, r.pasted)
    return tuple(fitted(_picture(image[index][list(r.shown)]), largest) for image in images)


def as_seen(r: Reconstruction, normalise: Normalise) -> Reconstruction:
    """Returns a reconstruction of bands as pictures show it: three bands of each image, in 0..1.

    Args:
        r: of B images, on the CPU.
        normalise: of the images; a reconstruction of RGB stays as it is.
    """
    if normalise.bands is None:
        return r
    original, prediction, pasted = (normalise.seen(images) for images in (r.original, r.prediction, r.pasted))
    (height, width), patches = r.original.shape[2:], r.masked_patches.shape[1]
    side = isqrt(height * width // patches)
    hidden = r.masked_patches.view(-1, 1, height // side, width // side)
    masked = original.masked_fill(hidden.repeat_interleave(side, 2).repeat_interleave(side, 3), 0.5)
    return Reconstruction(original, masked, prediction, pasted, r.psnr, r.masked_patches)


def sheet_of(rows: Sequence[Row], headings: Sequence[str]) -> Image.Image:
    """Returns rows of four pictures under column heads, each row below its heading unless that is empty.

    Raises:
        ValueError: there is no row, or not as many headings as rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    tiles = [sheet.Row(line, [sheet.Tile(cell) for cell in row]) for row, line in zip(rows, headings, strict=True)]
    return sheet.picture_sheet(tiles, heads=HEADS, column=_NARROWEST)


def decibels(psnr: float) -> str:
    """Returns a line for a PSNR in dB."""
    return f"PSNR of the hidden pixels {psnr:.1f} dB"


def _picture(image: Tensor) -> Image.Image:
    """Returns a picture of RGB values [3, H, W] in 0..1."""
    pixels = image.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
