"""Pictures of what a masked autoencoder makes of images: original, masked, reconstruction, both together."""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maekit.drawing.legend import INK, PAPER, Font, shortened

if TYPE_CHECKING:
    from maekit.pretraining.model import Reconstruction

HEADS = ("original", "masked", "reconstruction", "reconstruction + visible")
CELL, LARGE_CELL = 224, 448  # an image's longest side in pixels, where it is one of many and where it is alone
_GAP, _NARROWEST = 8, 144
_LETTERS = (20, 10)  # height of the column heads in pixels: at most, and at least

Row = tuple[Image.Image, ...]


def contact_sheet(r: "Reconstruction", captions: Sequence[str] | None = None) -> Image.Image:
    """Returns one picture with a row for each image: original, masked, reconstruction, reconstruction + visible.

    Large images are shrunk to 224 pixels, small ones are enlarged by a whole factor, pixel by pixel.

    Args:
        r: of B images.
        captions: B lines to stand under the rows; default: the PSNR of each.

    Raises:
        ValueError: not as many captions as images.
    """
    lines = [decibels(float(value)) for value in r.psnr] if captions is None else captions
    return sheet_of([row_of(r, index) for index in range(len(r.original))], lines)


def picture_of(r: "Reconstruction", index: int, caption: str = "") -> Image.Image:
    """Returns one image of `r` in one row, up to 448 pixels large, with a caption where one is given."""
    return sheet_of([row_of(r, index, LARGE_CELL)], [caption])


def row_of(r: "Reconstruction", index: int, largest: int = CELL) -> Row:
    """Returns the four pictures of one image, none of their sides over `largest` pixels."""
    return tuple(_shown(image[index], largest) for image in (r.original, r.masked, r.prediction, r.pasted))


def sheet_of(rows: Sequence[Row], captions: Sequence[str]) -> Image.Image:
    """Returns rows of four pictures under column heads, and a caption below each row whose caption is not empty.

    Raises:
        ValueError: there is no row, or not as many captions as rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    column = max(*(row[0].width for row in rows), _NARROWEST)
    font, letter = _font(column)
    heights = [row[0].height + _GAP + 2 * letter * bool(line) for row, line in zip(rows, captions, strict=True)]
    width = len(HEADS) * (column + _GAP) + _GAP
    sheet = Image.new("RGB", (width, 2 * letter + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [_GAP + place * (column + _GAP) for place in range(len(HEADS))]
    for left, head in zip(lefts, HEADS, strict=True):
        draw.text((left + column // 2, letter), head, INK, font, anchor="mm")
    top = 2 * letter
    for row, line, height in zip(rows, captions, heights, strict=True):
        for left, cell in zip(lefts, row, strict=True):
            sheet.paste(cell, (left + (column - cell.width) // 2, top))
        text = shortened(_plain(line), font, width - 2 * _GAP)
        draw.text((_GAP, top + row[0].height + letter), text, INK, font, anchor="lm")
        top += height
    return sheet


def decibels(psnr: float) -> str:
    """Says a PSNR in words that fit a picture."""
    return f"PSNR of the hidden pixels {psnr:.1f} dB"


def _shown(image: Tensor, largest: int) -> Image.Image:
    """An RGB image [3, H, W] in 0..1 at its size in a picture; small ones keep their pixels as squares."""
    pixels = image.detach().float().clamp(0, 1).mul(255).round().byte()
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    longest = max(picture.size)
    if longest > largest:
        size = [max(1, round(side * largest / longest)) for side in picture.size]
        return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    factor = largest // longest
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _font(column: int) -> tuple[Font, int]:
    """Pillow's own font at the largest size at which the longest head fits a column, and that size."""
    for size in range(_LETTERS[0], _LETTERS[1], -1):
        font = ImageFont.load_default(size=size)
        if max(font.getlength(head) for head in HEADS) <= column:
            return font, size
    return ImageFont.load_default(size=_LETTERS[1]), _LETTERS[1]


def _plain(text: str) -> str:
    """One line in the letters that the font has (ASCII): accents are dropped, other letters become `?`."""
    letters = [letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)]
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in letters)
