"""Cuts polygons to a rectangle, in floating point and without a geometry library."""

from collections.abc import Iterator

import numpy as np

LEAST_AREA = 1e-9  # square pixels: a polygon that only touches the rectangle leaves less


def clip_polygon(outline: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> list[np.ndarray]:
    """Returns the parts of a polygon within a rectangle: several pieces, one, or an empty list.

    A line at a time, the parts of the outline on the right side of it are joined along the line in pairs, from the
    outermost inwards. So no piece runs along an edge of the rectangle to another piece, as it would after Sutherland
    and Hodgman's way, and the box of a piece is the piece's own. Where an outline crosses itself, inside is what an
    odd number of edges separates from the outside.

    Args:
        outline: float64 [2 n], x0 y0 x1 y1 ...
        low: x and y of the rectangle's upper left corner.
        high: x and y of its lower right corner.

    Returns:
        float64 [2 m] each, without pieces of no area.
    """
    points = outline.reshape(-1, 2)
    if (points >= low).all() and (points <= high).all():
        pieces = [points]
    else:
        pieces = [points]
        for axis in (0, 1):
            pieces = [cut for piece in pieces for cut in _cut(piece, axis, low[axis], 1)]
            pieces = [cut for piece in pieces for cut in _cut(piece, axis, high[axis], -1)]
    return [piece.reshape(-1) for piece in pieces if _area(piece) > LEAST_AREA]


def _cut(points: np.ndarray, axis: int, bound: float, side: int) -> list[np.ndarray]:
    """Returns the pieces of [n, 2] points where side * (points[:, axis] - bound) is above 0."""
    far = side * (points[:, axis] - bound)
    inside = far > 0
    if inside.all() or not inside.any():
        return [points] if inside.any() else []
    first = int(np.flatnonzero(inside & ~np.roll(inside, 1))[0])
    points, far, inside = (np.roll(values, -first, axis=0) for values in (points, far, inside))
    return list(_join([_chain(points, far, axis, bound, *run) for run in _runs(inside)], 1 - axis))


def _runs(inside: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields first and last of each run of points inside; the first point is one, the last is not."""
    changes = np.flatnonzero(np.diff(inside.astype(np.int8))) + 1
    bounds = [0, *changes.tolist()]
    for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
        yield start, stop - 1


def _chain(points: np.ndarray, far: np.ndarray, axis: int, bound: float, first: int, last: int) -> np.ndarray:
    """Returns a run of points with the two crossings of the line before and after it."""
    return np.concatenate(
        [
            _crossing(points, far, axis, bound, first, first - 1)[None],
            points[first : last + 1],
            _crossing(points, far, axis, bound, last, last + 1)[None],
        ]
    )


def _crossing(points: np.ndarray, far: np.ndarray, axis: int, bound: float, inner: int, outer: int) -> np.ndarray:
    share = far[inner] / (far[inner] - far[outer])
    crossing: np.ndarray = points[inner] + share * (points[outer] - points[inner])
    crossing[axis] = bound
    return crossing


def _join(chains: list[np.ndarray], along: int) -> Iterator[np.ndarray]:
    """Joins chains, whose ends lie on one line, into closed outlines: neighbouring ends in pairs, from the first on."""
    ends = np.array([chain[end, along] for chain in chains for end in (0, -1)])  # 2 c and 2 c + 1 are chain c's
    order = np.argsort(ends, kind="stable")
    partner = np.empty_like(order)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    left = set(range(len(chains)))
    while left:
        at = start = 2 * min(left)
        outline = []
        while True:
            chain = at // 2
            left.discard(chain)
            outline.append(chains[chain] if at % 2 == 0 else chains[chain][::-1])
            at = int(partner[at ^ 1])
            if at == start:
                break
        yield np.concatenate(outline)


def _area(points: np.ndarray) -> float:
    x, y = (points - points[0]).T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2
