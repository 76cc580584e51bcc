"""Reduces long curves to what is visible, and splits them at gaps."""

from collections.abc import Iterable
from typing import TypeVar

from maekit.report.charts.scale import Scale, drawable

Place = tuple[float, float]  # px
_Place = TypeVar("_Place", bound=tuple[float, ...])


def stretches(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> list[list[Place]]:
    """The points in px, split where a value cannot be drawn (NaN, or not positive on a log axis)."""
    pieces: list[list[Place]] = [[]]
    for at, value in sorted(points, key=lambda point: point[0]):
        if not drawable(at, x.log):
            continue
        if drawable(value, y.log):
            pieces[-1].append((x(at), y(value)))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def thinned(places: list[Place], width: float = 2.0) -> list[Place]:
    """The first, last, highest and lowest place of each `width` px of x: the line looks the same (Jugel, M4, 2014)."""
    kept: list[Place] = []
    for column in _columns(places, width):
        chosen = {0, len(column) - 1}
        heights = [place[1] for place in column]
        chosen |= {heights.index(min(heights)), heights.index(max(heights))}
        kept += [column[i] for i in sorted(chosen)]
    return kept


def thinned_band(places: list[tuple[float, float, float]], width: float = 2.0) -> list[tuple[float, float, float]]:
    """At most two (x, low, high) for each `width` px of x, as low and as high as any there; px count downwards."""
    kept: list[tuple[float, float, float]] = []
    for column in _columns(places, width):
        lows, highs = [place[1] for place in column], [place[2] for place in column]
        ends = {column[0][0], column[-1][0]}
        kept += [(at, max(lows), min(highs)) for at in sorted(ends)]
    return kept


def _columns(places: list[_Place], width: float) -> list[list[_Place]]:
    columns: dict[int, list[_Place]] = {}
    for place in places:
        columns.setdefault(int(place[0] // width), []).append(place)
    return list(columns.values())
