"""Writes names on boxes without overlaps, and without cutting them off at the border."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from maekit.data.images.bands.pixels import size_of
from maekit.drawing.text import Colour, Font
from maekit.system.size import HeightWidth

Box = tuple[float, float, float, float]  # x0 y0 x1 y1
Place = tuple[int, int, int, int]  # x0 y0 x1 y1, the last column and row not included


class Tag(NamedTuple):
    """A text for a box, and its colour."""

    box: Box
    text: str
    colour: Colour


def draw_tags(picture: Image.Image, tags: Sequence[Tag], font: Font, size: int) -> list[Place]:
    """Writes the tags for which there is room, in their order, and returns their places.

    Args:
        picture: RGB, is drawn on.
        tags: boxes in the picture's pixels.
        font: of the text.
        size: of the font in pixels.
    """
    draw, whole, taken = ImageDraw.Draw(picture), size_of(picture), list[Place]()
    pad, height = max(2, size // 5), size + size // 3
    for tag in tags:
        width = int(font.getlength(tag.text)) + 2 * pad + 1
        place = next((p for p in _places(tag.box, HeightWidth(height, width), whole) if _free(p, taken)), None)
        if place is None:
            continue
        taken.append(place)
        draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), tag.colour, ink_on(tag.colour))
        draw.text((place[0] + pad, (place[1] + place[3]) // 2), tag.text, ink_on(tag.colour), font, anchor="lm")
    return taken


def ink_on(colour: Colour) -> Colour:
    """Returns black or white, whichever has more contrast (WCAG 2's relative luminance)."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def _places(box: Box, size: HeightWidth, whole: HeightWidth) -> Iterator[Place]:
    """Yields places for a tag, the best first: above the box, inside its corners, below it, along its sides."""
    (x0, y0, x1, y1), (height, width) = (round(side) for side in box), size
    left, right = (x0, x1 - width)
    rows = range(y0 + height, y1 - height, height)
    corners = [(left, y0 - height), (left, y0), (right, y0 - height), (right, y0)]
    corners += [(left, y1), (left, y1 - height), (right, y1), (right, y1 - height)]
    for x, y in [*corners, *((side, row) for row in rows for side in (left, right))]:
        x, y = max(0, min(x, whole.width - width)), max(0, min(y, whole.height - height))
        if x + width <= whole.width and y + height <= whole.height:
            yield x, y, x + width, y + height


def _free(place: Place, taken: Sequence[Place]) -> bool:
    x0, y0, x1, y1 = place
    return all(x1 <= a or c <= x0 or y1 <= b or d <= y0 for a, b, c, d in taken)
