"""Dashes, markers and labels that distinguish series without colour; eight colours, which repeat."""

from collections.abc import Sequence

from maekit.report.charts.svg import FONT, element, hint, px, shortened, text_width, words

NUM_COLOURS = 8
LINE = 17.0  # px from one label to the next
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2", "12 4")
_SHAPES = ("circle", "square", "triangle", "diamond", "cross", "down")


def colour(index: int) -> str:
    """The class that colours series `index`."""
    return f"s{index % NUM_COLOURS}"


def curve(places: Sequence[tuple[float, float]], index: int, fine: bool = False) -> str:
    """A line through places in px, in the series' colour and dash; `fine` draws it thin, for a noisy curve."""
    path = "M" + "L".join(f"{px(x)} {px(y)}" for x, y in places)
    dash = DASHES[index % len(DASHES)]
    return element(
        "path",
        d=path,
        class_=f"line {colour(index)}{' fine' if fine else ''}",
        **({"stroke_dasharray": dash} if dash else {}),
    )


def marker(x: float, y: float, index: int, hover: str = "", size: float = 4.0) -> str:
    """The series' marker at a place in px; `hover` shows under the pointer."""
    title = hint(hover) if hover else ""
    shape, look = _SHAPES[index % len(_SHAPES)], f"mark {colour(index)}"
    if shape == "circle":
        return element("circle", title, cx=x, cy=y, r=size, class_=look)
    if shape == "square":
        side = 2 * size - 1
        return element("rect", title, x=x - side / 2, y=y - side / 2, width=side, height=side, class_=look)
    a, b = px(size), px(2 * size)
    path = {
        "triangle": f"M{px(x)} {px(y - size)}l{a} {b}h-{b}z",
        "down": f"M{px(x)} {px(y + size)}l{a} -{b}h-{b}z",
        "diamond": f"M{px(x)} {px(y - size - 1)}l{a} {px(size + 1)}l-{a} {px(size + 1)}l-{a} -{px(size + 1)}z",
        "cross": f"M{px(x - size)} {px(y - size)}l{b} {b}m0 -{b}l-{b} {b}",
    }[shape]
    return element("path", title, d=path, class_=look + (" open" if shape == "cross" else ""))


def sample(x: float, y: float, index: int) -> str:
    """A piece of the series' line with its marker, 26 px long, for a legend."""
    return curve([(x, y), (x + 26, y)], index) + marker(x + 13, y, index, size=3.5)


def end_labels(ends: Sequence[tuple[float, float]], labels: Sequence[str], x: float, top: float, bottom: float) -> str:
    """Each series' label right of the plot at `x`, as near the height of its last point as the others leave room.

    Args:
        ends: Each series' last place in px.
        labels: The series' labels, cut to their room already.
        x: Where the labels begin, in px.
        top: The plot's upper edge in px.
        bottom: Its lower one.
    """
    heights = spread([y for _, y in ends], top, bottom)
    parts = []
    for index, ((end_x, end_y), y, label) in enumerate(zip(ends, heights, labels, strict=True)):
        lead = f"M{px(end_x + 6)} {px(end_y)}L{px(x - 4)} {px(y)}"
        parts.append(element("path", d=lead, class_="lead"))
        parts.append(marker(x + 4, y, index, size=3.5) + words(label, x + 14, y + 4, class_="name"))
    return "".join(parts)


def spread(wanted: Sequence[float], top: float, bottom: float, gap: float = LINE) -> list[float]:
    """Heights as near the wanted ones as a `gap` between any two and the two edges allow, in the same order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = dict.fromkeys(order, 0.0)
    lowest = top
    for i in order:
        placed[i] = max(wanted[i], lowest)
        lowest = placed[i] + gap
    highest = bottom
    for i in reversed(order):
        placed[i] = min(placed[i], highest)
        highest = placed[i] - gap
    return [placed[i] for i in range(len(wanted))]


def legend(labels: Sequence[str], left: float, top: float, right: float) -> tuple[str, float]:
    """All series' samples and labels in rows, and the height in px that they take."""
    texts = [shortened(label, right - left - 34) for label in labels]
    wide = max(text_width(text) for text in texts) + 52
    columns = min(max(1, int((right - left + 18) // wide)), len(texts))
    parts = []
    for index, text in enumerate(texts):
        x, y = left + index % columns * wide, top + index // columns * (LINE + 3)
        parts.append(sample(x, y, index) + words(text, x + 32, y + FONT / 3, class_="name"))
    return "".join(parts), -(-len(texts) // columns) * (LINE + 3)
