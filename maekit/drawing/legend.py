"""The legend of a picture of labels: swatches, shares and class names, in columns."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, PAPER, OUTLINE = (25, 25, 25), (255, 255, 255), (90, 90, 90)
LARGEST = 1600  # longest side of a picture in pixels


class Entry(NamedTuple):
    """One line of a legend; a colour of None is hatched, as ignored pixels are, or absent without `swatch`."""

    name: str
    share: str
    colour: Colour | None = None
    swatch: bool = True


def font_for(width: int) -> tuple[Font, int]:
    """Returns Pillow's own font at a size readable in a picture `width` pixels wide, and that size in pixels."""
    size = min(max(width // 45, 14), 24)
    return ImageFont.load_default(size=size), size


def draw_legend(entries: Sequence[Entry], width: int, heading: str = "") -> Image.Image:
    """Returns the entries, read down each column, on white: RGB, `width` pixels wide."""
    font, size = font_for(width)
    gap, line = size // 2, size * 3 // 2
    share_width = int(max(font.getlength(entry.share) for entry in entries)) + 1
    fixed = size + share_width + 5 * gap  # all of a column but the name
    wanted = min(int(max(font.getlength(entry.name) for entry in entries)) + 1, 14 * size)
    num_columns = min(max(1, (width - gap) // (fixed + wanted)), len(entries))
    num_rows = -(-len(entries) // num_columns)
    column = (width - gap) // num_columns
    top = gap + (line if heading else 0)
    picture = Image.new("RGB", (width, top + num_rows * line + gap), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((gap, gap + line // 2), heading, INK, font, anchor="lm")
    for place, entry in enumerate(entries):
        left, middle = gap + place // num_rows * column, top + place % num_rows * line + line // 2
        if entry.swatch:
            _draw_swatch(picture, (left, middle - size // 2), size, entry.colour)
        draw.text((left + size + gap + share_width, middle), entry.share, INK, font, anchor="rm")
        name = shortened(entry.name, font, column - fixed + gap)
        draw.text((left + size + 2 * gap + share_width, middle), name, INK, font, anchor="lm")
    return picture


def plain_name(name: str, label: int) -> str:
    """Returns a class name as one line in the letters that Pillow's own font has (ASCII): accents are dropped.

    Where little is left, as of Chinese, it is the label's number: `label 7`.
    """
    letters = unicodedata.normalize("NFKD", name)
    kept = "".join(letter for letter in letters if letter.isascii() and (letter.isprintable() or letter.isspace()))
    num_lost = sum(not letter.isascii() and not unicodedata.combining(letter) for letter in letters)
    plain = " ".join(kept.split())
    return plain[:200] if len(plain) > num_lost else f"label {label}"


def shortened(name: str, font: Font, room: float) -> str:
    """Returns a name cut with three dots to at most `room` pixels."""
    if font.getlength(name) <= room:
        return name
    while name and font.getlength(name + "...") > room:
        name = name[:-1].rstrip()
    return name + "..."


def hatch(size: tuple[int, int]) -> Image.Image:
    """Returns diagonal stripes of 4 pixels as a mask, L, of a width and height: 255 on the stripes."""
    stripes = np.add.outer(np.arange(size[1]), np.arange(size[0])) % 8 < 4
    return Image.fromarray(np.where(stripes, 255, 0).astype(np.uint8))


def _draw_swatch(picture: Image.Image, corner: tuple[int, int], size: int, colour: Colour | None) -> None:
    """Outlined, so that white shows on white."""
    picture.paste(OUTLINE, (*corner, corner[0] + size, corner[1] + size))
    inner = (corner[0] + 1, corner[1] + 1, corner[0] + size - 1, corner[1] + size - 1)
    picture.paste(PAPER if colour is None else colour, inner)
    if colour is None:
        picture.paste((0, 0, 0), inner, hatch((size - 2, size - 2)))
