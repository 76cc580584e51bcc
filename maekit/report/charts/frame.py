"""The plot's box, axes with ticks, and the drawing of an empty chart."""

from collections.abc import Sequence
from dataclasses import dataclass

from maekit.report.charts.scale import Scale, tick_texts, ticks
from maekit.report.charts.svg import FONT, element, shortened, text_width, words

WIDE, NARROW = 760.0, 340.0  # px: a desktop's and a phone's drawing of the same chart
_RIGHT = 12.0  # px right of every plot that a label of the x axis may use
NARROWEST_GAP = 14.0  # px between two labels of an axis


@dataclass(frozen=True)
class Box:
    """The plot's edges in px, from the top left of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """The plot's width in px."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """The plot's height in px."""
        return self.bottom - self.top


def drawing(inside: str, width: float, height: float, label: str) -> str:
    """The `<svg>` element around `inside`, `width` x `height` px; it shrinks on a narrower page."""
    return element(
        "svg",
        inside,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=width,
        height=height,
        class_="chart",
        role="img",
        aria_label=" ".join(label.split()),
        font_size=FONT,
    )


def nothing(width: float, label: str, reason: str) -> str:
    """A drawing that says why it is empty."""
    height = 96.0
    frame = element("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=6, class_="void")
    text = words(reason, width / 2, height / 2 + 4, text_anchor="middle", class_="soft")
    return drawing(frame + text, width, height, f"{label}: {reason}")


def y_axis(box: Box, scale: Scale, label: str) -> str:
    """Gridlines with their values left of the plot, and the axis' name above it, horizontal."""
    values = ticks(scale, max(2, round(box.height / 55)))
    parts = []
    for value, text in zip(values, tick_texts(values), strict=True):
        at = scale(value)
        parts.append(element("path", d=f"M{box.left:.1f} {at:.1f}H{box.right:.1f}", class_="grid"))
        parts.append(words(text, box.left - 8, at + 4, text_anchor="end", class_="soft"))
    name = shortened(label + (" (log)" if scale.log else ""), box.right)
    return "".join(parts) + words(name, 0.0, FONT, class_="axis")


def y_axis_width(scale: Scale, height: float) -> float:
    """The width in px that the y axis' values need."""
    values = ticks(scale, max(2, round(height / 55)))
    return max((text_width(text) for text in tick_texts(values)), default=0.0) + 10


def x_axis(box: Box, scale: Scale, label: str, values: Sequence[float] = ()) -> str:
    """The base line, ticks at `values` if their labels do not overlap, else at round values, and the axis' name."""
    chosen = list(values)
    texts = [f"{value:.6g}" for value in chosen]
    if not chosen or not _fit([scale(value) for value in chosen], texts):
        chosen, texts = _fitting(box, scale)
    parts = [element("path", d=f"M{box.left:.1f} {box.bottom:.1f}H{box.right:.1f}", class_="base")]
    for value, text in zip(chosen, texts, strict=True):
        at = scale(value)
        parts.append(element("path", d=f"M{at:.1f} {box.bottom:.1f}v5", class_="base"))
        inside = min(at, box.right + _RIGHT - text_width(text) / 2)
        parts.append(words(text, inside, box.bottom + 19, text_anchor="middle", class_="soft"))
    name = shortened(label + (" (log)" if scale.log else ""), box.width)
    middle = (box.left + box.right) / 2
    return "".join(parts) + words(name, middle, box.bottom + 38, text_anchor="middle", class_="axis")


def _fitting(box: Box, scale: Scale) -> tuple[list[float], list[str]]:
    """As many round ticks as fit without overlapping labels."""
    for wanted in range(max(2, round(box.width / 80)), 0, -1):
        values = ticks(scale, wanted)
        texts = tick_texts(values)
        if _fit([scale(value) for value in values], texts):
            return values, texts
    return values[:1], texts[:1]


def _fit(places: list[float], texts: list[str]) -> bool:
    widths = [text_width(text) for text in texts]
    pairs = zip(places, places[1:], widths, widths[1:], strict=False)
    return all(b - a >= (wide + next_wide) / 2 + NARROWEST_GAP / 2 for a, b, wide, next_wide in pairs)
