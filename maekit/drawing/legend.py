"""The legend of a picture of labels: swatches, shares and class names, in columns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from maekit.drawing.text import INK, OUTLINE, PAPER, Colour, font_for, shortened
from maekit.system.size import HeightWidth


class Entry(NamedTuple):
    """One line of a legend; a colour of None is hatched, as ignored pixels are, or absent without `swatch`."""

    name: str
    share: str
    colour: Colour | None = None
    swatch: bool = True


def with_legend(picture: Image.Image, entries: Sequence[Entry], *, narrowest: int, heading: str = "") -> Image.Image:
    """Returns a picture with its legend below it, at least `narrowest` pixels wide."""
    width = max(picture.width, narrowest)
    legend = draw_legend(entries, width, heading)
    whole = Image.new("RGB", (width, picture.height + legend.height), PAPER)
    whole.paste(picture, ((width - picture.width) // 2, 0))
    whole.paste(legend, (0, picture.height))
    return whole


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


def hatch(size: HeightWidth) -> Image.Image:
    """Returns diagonal stripes of 4 pixels as a mask, L: 255 on the stripes."""
    stripes = np.add.outer(np.arange(size.height), np.arange(size.width)) % 8 < 4
    return Image.fromarray(np.where(stripes, 255, 0).astype(np.uint8))


def _draw_swatch(picture: Image.Image, corner: tuple[int, int], size: int, colour: Colour | None) -> None:
    """Draws a square of `size` pixels with an outline, so that white shows on white."""
    picture.paste(OUTLINE, (*corner, corner[0] + size, corner[1] + size))
    inner = (corner[0] + 1, corner[1] + 1, corner[0] + size - 1, corner[1] + size - 1)
    picture.paste(PAPER if colour is None else colour, inner)
    if colour is None:
        picture.paste((0, 0, 0), inner, hatch(HeightWidth(size - 2, size - 2)))
