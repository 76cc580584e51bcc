"""Contact sheets: many images in rows on white, with captions. Pillow only."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from maekit.data.images.decode import UPRIGHT
from maekit.drawing.legend import INK, OUTLINE, PAPER, Font, font_for, shortened
from maekit.errors import UserError

SIDE = 160  # of a tile in pixels
GAP = 12
_FAINT, _MARK = (235, 235, 235), (200, 60, 20)


class Tile(NamedTuple):
    """One image of a sheet; without one a grey field stands in. A marked one has a frame."""

    image: Image.Image | None
    captions: tuple[str, ...] = ()
    marked: bool = False


class Row(NamedTuple):
    """Tiles beside each other under a line of text, which may be empty."""

    heading: str
    tiles: Sequence[Tile]


def contact_sheet(tiles: Sequence[Tile], *, columns: int, title: str = "", side: int = SIDE) -> Image.Image:
    """Returns tiles in reading order, as many in a row as `columns`: see `rows_sheet`."""
    rows = [Row("", tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return rows_sheet(rows, title=title, side=side)


def rows_sheet(rows: Sequence[Row], *, title: str = "", side: int = SIDE) -> Image.Image:
    """Returns an RGB picture of rows of tiles on white, each tile with its captions below.

    Large images are shrunk to a tile, small ones enlarged by a whole factor, pixel by pixel. Text has the letters of
    Pillow's own font and is cut to its room.

    Args:
        rows: at least one, of at least one tile.
        title: a line above all.
        side: of a tile in pixels.
    """
    font, size = font_for(0)
    line = size * 3 // 2
    num_columns = max(len(row.tiles) for row in rows)
    num_captions = max((len(tile.captions) for row in rows for tile in row.tiles), default=0)
    width = GAP + num_columns * (side + GAP)
    tallest = [max(_height(tile, side) for tile in row.tiles) for row in rows]
    heights = [
        (line if row.heading else 0) + most + num_captions * line + GAP for row, most in zip(rows, tallest, strict=True)
    ]
    sheet = Image.new("RGB", (width, GAP + (line if title else 0) + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = GAP
    if title:
        draw.text((GAP, top + size // 2), shortened(plain(title), font, width - 2 * GAP), INK, font, anchor="lm")
        top += line
    for row, height, most in zip(rows, heights, tallest, strict=True):
        below = top
        if row.heading:
            heading = shortened(plain(row.heading), font, width - 2 * GAP)
            draw.text((GAP, top + size // 2), heading, INK, font, anchor="lm")
            below += line
        for column, tile in enumerate(row.tiles):
            _draw_tile(draw, sheet, tile, (GAP + column * (side + GAP), below), (side, most), font)
        top += height
    return sheet


def thumbnail(path: Path, side: int = SIDE) -> Image.Image | None:
    """Returns an image no larger than twice a tile, so that many fit in memory; None if it cannot be read."""
    try:
        image = UPRIGHT(path)
    except UserError:
        return None
    image.thumbnail((2 * side, 2 * side), Image.Resampling.LANCZOS)
    return image


def plain(text: str) -> str:
    """Returns text in the letters that Pillow's own font has: accents are dropped, other letters are question marks."""
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in letters)[:300]


def fitted(image: Image.Image, side: int) -> Image.Image:
    """Returns an image whose longer side is `side` or, where it was smaller, the largest whole multiple below it."""
    longest = max(image.size)
    if longest > side:
        size = tuple(max(1, round(edge * side / longest)) for edge in image.size)
        return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    factor = side // longest
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _height(tile: Tile, side: int) -> int:
    """Of a tile's image as it is drawn."""
    if tile.image is None:
        return side
    longest = max(tile.image.size)
    return (
        max(1, round(tile.image.height * side / longest)) if longest > side else tile.image.height * (side // longest)
    )


def _draw_tile(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    tile: Tile,
    corner: tuple[int, int],
    size: tuple[int, int],
    font: Font,
) -> None:
    """Draws a tile of a width and height; its image stands at the bottom, close to the captions."""
    (left, top), (width, height) = corner, size
    line = font_for(0)[1] * 3 // 2
    box = (left, top, left + width - 1, top + height - 1)
    if tile.image is None:
        draw.rectangle(box, fill=_FAINT)
        draw.text((left + width // 2, top + height // 2), "not readable", OUTLINE, font, anchor="mm")
    else:
        image = fitted(tile.image, width)
        place = (left + (width - image.width) // 2, top + height - image.height)
        sheet.paste(image, place)
        box = (*place, place[0] + image.width - 1, place[1] + image.height - 1)
    if tile.marked:
        draw.rectangle((box[0] - 4, box[1] - 4, box[2] + 4, box[3] + 4), outline=_MARK, width=3)
    for number, caption in enumerate(tile.captions):
        middle = (left + width // 2, top + height + number * line + line // 2 + 2)
        draw.text(middle, shortened(plain(caption), font, width), INK, font, anchor="mm")


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Returns sheets one below the other, on white."""
    whole = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), PAPER)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole
