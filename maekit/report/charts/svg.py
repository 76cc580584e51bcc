"""SVG as text: elements, escaped text, and an estimate of how wide text is."""

import html
import re

FONT = 12.0  # px, of all words in a chart unless given otherwise
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[] "), frozenset("mwMW@%=+<>~#")


def without_control(text: str) -> str:
    """The text with U+FFFD in place of the characters that neither HTML nor SVG may hold."""
    return _FORBIDDEN.sub("\ufffd", text)


def escaped(text: object) -> str:
    """`text` fit for SVG, in an attribute too."""
    return html.escape(without_control(str(text)), quote=True)


def element(name: str, inside: str = "", **attributes: object) -> str:
    """`<name a="1">inside</name>`; `inside` is markup already. `class_` is class, `text_anchor` is text-anchor."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{inside}</{name}>" if inside or name in ("text", "title") else f"<{name}{written}/>"


def words(text: str, x: float, y: float, **attributes: object) -> str:
    """A `<text>` at a place in px."""
    return element("text", escaped(text), x=x, y=y, **attributes)


def hint(text: str) -> str:
    """A `<title>`, which a browser shows when the pointer rests on the element that contains it."""
    return element("title", escaped(text))


def text_width(text: str, size: float = FONT) -> float:
    """An estimate of the width of `text` in px at a font size in px, too wide rather than too narrow."""
    shares = (
        0.38 if letter in _NARROW else 0.92 if letter in _WIDE else 0.64 if letter.isascii() else 1.0 for letter in text
    )
    return size * sum(shares)


def shortened(text: str, width: float, size: float = FONT) -> str:
    """`text` cut to one line of `width` px. The middle is cut out, since names often differ at their ends."""
    line = " ".join(text[:2000].split())
    if text_width(line, size) <= width:
        return line
    for kept in range(int(width / size * 3), 1, -1):
        cut = f"{line[: kept - kept // 3]}…{line[len(line) - kept // 3 :]}"
        if text_width(cut, size) <= width:
            return cut
    return "…"


def px(value: float) -> str:
    """A length in px with one decimal at most: `12`, `12.5`."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _value(value: object) -> str:
    return px(value) if isinstance(value, float) else escaped(value)
