"""Text in pictures: Pillow's own font, which has ASCII letters only, and names cut to their room."""

import unicodedata
from collections.abc import Iterable

from PIL import ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, PAPER, OUTLINE = (25, 25, 25), (255, 255, 255), (90, 90, 90)
_SMALLEST = 10  # height of letters in pixels that can still be read


def font_for(width: int) -> tuple[Font, int]:
    """Returns Pillow's own font at a size readable in a picture `width` pixels wide, and that size in pixels."""
    size = min(max(width // 45, 14), 24)
    return ImageFont.load_default(size=size), size


def font_that_fits(lines: Iterable[str], room: int, largest: int) -> tuple[Font, int]:
    """Returns the font at the largest size, 10 to `largest` pixels, at which each line fits into `room` pixels."""
    for size in range(largest, _SMALLEST, -1):
        font = ImageFont.load_default(size=size)
        if max(font.getlength(line) for line in lines) <= room:
            return font, size
    return ImageFont.load_default(size=_SMALLEST), _SMALLEST


def plain(text: str) -> str:
    """Returns one line in ASCII of at most 300 letters: accents are dropped, other letters become question marks."""
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in letters)[:300]


def plain_name(name: str, label: int) -> str:
    """Returns a class name as one line in ASCII: accents are dropped.

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
