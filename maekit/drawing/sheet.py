"""One sheet of many pictures: rows on white, with a title, column heads, row headings and captions. Pillow only."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from maekit.data.images.decode import UPRIGHT
from maekit.drawing.text import INK, OUTLINE, PAPER, font_for, font_that_fits, plain, shortened
from maekit.drawing.views import fitted
from maekit.errors import UserError

SIDE = 160  # of a contact sheet's tile in pixels
GAP = 12
CAPTION_LETTERS = 21  # that fit below a tile
_FAINT, _MARK = (235, 235, 235), (200, 60, 20)


class Tile(NamedTuple):
    """One picture of a sheet with captions below it.

    Attributes:
        image: drawn at its own size; a grey field stands for None, an image that cannot be read.
        captions: a line each, centred.
        marked: whether it has a red frame.
    """

    image: Image.Image | None
    captions: tuple[str, ...] = ()
    marked: bool = False


class Row(NamedTuple):
    """Tiles beside each other, under a line of text unless `heading` is empty."""

    heading: str
    tiles: Sequence[Tile]


def picture_sheet(rows: Sequence[Row], *, title: str = "", heads: Sequence[str] = (), column: int = 0) -> Image.Image:
    """Returns an RGB picture of rows of tiles.

    Images stand in the middle of their column and at the bottom of their row. All columns are as wide as the widest
    image. Text is cut to its room.

    Args:
        rows: at least one, of at least one tile.
        title: a line above all; empty for none.
        heads: a line above each column; empty for none. All text is then as large as lets each head fit its column.
        column: least width of a column in pixels.
    """
    column = max([column, *(tile.image.width for row in rows for tile in row.tiles if tile.image)])
    num_columns = max(len(row.tiles) for row in rows)
    num_captions = max(len(tile.captions) for row in rows for tile in row.tiles)
    width = GAP + num_columns * (column + GAP)
    font, size = font_that_fits(heads, column, font_for(width)[1]) if heads else font_for(0)
    line = size * 3 // 2
    tallest = [max(tile.image.height if tile.image else column for tile in row.tiles) for row in rows]
    above_rows = GAP + line * bool(title) + (line + GAP // 2) * bool(heads)
    lines = line * (sum(bool(row.heading) for row in rows) + len(rows) * num_captions)
    sheet = Image.new("RGB", (width, above_rows + lines + sum(tallest) + len(rows) * GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [GAP + number * (column + GAP) for number in range(num_columns)]
    top = GAP
    if title:
        draw.text((GAP, top + size // 2), shortened(plain(title), font, width - 2 * GAP), INK, font, anchor="lm")
        top += line
    if heads:
        for left, head in zip(lefts, heads, strict=True):
            draw.text((left + column // 2, top + size // 2), head, INK, font, anchor="mm")
    top = above_rows
    for row, height in zip(rows, tallest, strict=True):
        if row.heading:
            heading = shortened(plain(row.heading), font, width - 2 * GAP)
            draw.text((GAP, top + size // 2), heading, INK, font, anchor="lm")
            top += line
        for left, tile in zip(lefts, row.tiles, strict=False):
            _draw_image(draw, sheet, tile, (left, top, left + column, top + height))
            for number, caption in enumerate(tile.captions):
                middle = (left + column // 2, top + height + number * line + line // 2 + 2)
                draw.text(middle, shortened(plain(caption), font, column), INK, font, anchor="mm")
        top += height + num_captions * line + GAP
    return sheet


def contact_sheet(tiles: Sequence[Tile], *, columns: int, title: str = "", side: int = SIDE) -> Image.Image:
    """Returns tiles in reading order, large images shrunk and small ones enlarged to about the same size.

    Args:
        tiles: at least one, with images of any size.
        columns: tiles in a row.
        title: a line above all.
        side: longest side of an image in pixels; small ones are enlarged by a whole factor, pixel by pixel.
    """
    same = [tile._replace(image=tile.image and fitted(tile.image, side)) for tile in tiles]
    rows = [Row("", same[first : first + columns]) for first in range(0, len(same), columns)]
    return picture_sheet(rows, title=title, column=side)


def named_with_folder(path: Path) -> str:
    """Returns the path's file with its folder, if both fit below a tile; else the file, of a long name its end."""
    whole = f"{path.parent.name}/{path.name}"
    if len(whole) <= CAPTION_LETTERS:
        return whole
    return path.name if len(path.name) <= CAPTION_LETTERS else f"...{path.name[3 - CAPTION_LETTERS :]}"


def thumbnail(path: Path, read: Callable[[Path], Image.Image] = UPRIGHT, side: int = SIDE) -> Image.Image | None:
    """Returns an image no larger than twice a tile, so that many fit in memory; None if it cannot be read."""
    try:
        image = read(path)
    except UserError:
        return None
    image.thumbnail((2 * side, 2 * side), Image.Resampling.LANCZOS)
    return image


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Returns sheets one below the other, on white."""
    whole = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), PAPER)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def _draw_image(draw: ImageDraw.ImageDraw, sheet: Image.Image, tile: Tile, room: tuple[int, int, int, int]) -> None:
    """Draws a tile's image into its room: left, top, right and bottom in pixels, the last two exclusive."""
    left, top, right, bottom = room
    if tile.image is None:
        draw.rectangle((left, top, right - 1, bottom - 1), fill=_FAINT)
        middle = ((left + right) // 2, (top + bottom) // 2)
        draw.text(middle, "not readable", OUTLINE, font_for(0)[0], anchor="mm")
    else:
        left += (right - left - tile.image.width) // 2
        top, right = bottom - tile.image.height, left + tile.image.width
        sheet.paste(tile.image, (left, top))
    if tile.marked:
        draw.rectangle((left - 4, top - 4, right + 3, bottom + 3), outline=_MARK, width=3)
