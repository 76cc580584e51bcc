"""Polygons along the edges of a bitmap's pixels, and the filling of its holes.

OpenCV's findContours and faster-coco-eval have no such polygons: the former go through the centres of pixels.
"""

import cv2
import numpy as np

TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Directions (x, y): right, down, left, up."""


def filled(bitmap: np.ndarray) -> np.ndarray:
    """Returns [H, W] bool, the bitmap with its holes filled (4-connectivity)."""
    framed = np.pad(bitmap, 1).astype(np.uint8)
    cv2.floodFill(framed, None, (0, 0), 2)
    return np.asarray(framed[1:-1, 1:-1] != 2)


def outlines(bitmap: np.ndarray) -> list[list[float]]:
    """Returns the outer outlines of [H, W] bool as x0 y0 x1 y1 ..., clockwise along the edges of pixels.

    One outline for each 4-connected part, its corners only, without holes.
    """
    edges = _edges(bitmap)
    found = []
    while edges:
        outline = _walk(edges, *min(edges))
        after = outline[1:] + outline[:1]
        if sum(x * v - u * y for (x, y), (u, v) in zip(outline, after, strict=True)) > 0:  # else around a hole
            found.append([float(value) for point in outline for value in point])
    return found


def _edges(bitmap: np.ndarray) -> set[tuple[int, int, int]]:
    """Returns where each edge starts (x, y) and its direction, the bitmap always on the right of it."""
    framed = np.pad(bitmap, 1)
    middle = framed[1:-1, 1:-1]
    beyond = {0: framed[:-2, 1:-1], 1: framed[1:-1, 2:], 2: framed[2:, 1:-1], 3: framed[1:-1, :-2]}
    starts = {0: (0, 0), 1: (1, 0), 2: (1, 1), 3: (0, 1)}  # from the pixel's upper left corner, in x and y
    edges = set()
    for turn, outside in beyond.items():
        rows, columns = np.nonzero(middle & ~outside)
        dx, dy = starts[turn]
        edges |= {(x + dx, y + dy, turn) for x, y in zip(columns.tolist(), rows.tolist(), strict=True)}
    return edges


def _walk(edges: set[tuple[int, int, int]], x: int, y: int, turn: int) -> list[tuple[int, int]]:
    """Returns the corners of the closed outline that begins with an edge, and removes its edges from the set."""
    corners, first = [], (x, y, turn)
    while True:
        x, y = x + TURNS[turn][0], y + TURNS[turn][1]
        # Right first: pixels that touch at a corner only belong to two outlines.
        onward = next(way for way in ((turn + 1) % 4, turn, (turn - 1) % 4) if (x, y, way) in edges)
        if onward != turn:
            corners.append((x, y))
        turn = onward
        edges.remove((x, y, turn))
        if (x, y, turn) == first:
            return corners
