"""What the tiles of one image found, and how well each tile saw each object."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maekit.system.size import HeightWidth
from maekit.tiles.region import Region

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
EDGE_SHARE = 0.01  # of a tile's side: a box that ends so near to the edge is cut by it; detectors miss edges by that


@dataclass(frozen=True, eq=False)
class Views:
    """The objects that the tiles of an image found; an object that several tiles see is in it several times.

    Attributes:
        tiles: T regions of the image.
        size: of the image in pixels.
        boxes: float64 [K, 4], x0 y0 x1 y1 in pixels of the image.
        scores: float64 [K].
        labels: int64 [K].
        tile_of: int64 [K], the tile that found each, ascending.
    """

    tiles: Sequence[Region]
    size: HeightWidth
    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    tile_of: NDArray[np.int64]

    def of(self, tile: int) -> NDArray[np.int64]:
        """Returns the places in this list of what one tile found."""
        first, end = np.searchsorted(self.tile_of, [tile, tile + 1])
        return np.arange(first, end)

    def edge(self, tile: int) -> float:
        """Returns how near to the edge of a tile a box is cut by it, in pixels."""
        return 1 + EDGE_SHARE * max(self.tiles[tile].size)

    def cut(self) -> Bools:
        """Returns [K, 4], whether an object is cut by the left, upper, right and lower edge of its tile.

        The edges of the image cut nothing.
        """
        corners = np.array([(t.left, t.top, t.right, t.bottom) for t in self.tiles], dtype=float).reshape(-1, 4)
        inner = corners != np.array([0, 0, self.size.width, self.size.height])
        edges = np.array([self.edge(tile) for tile in range(len(self.tiles))])
        near = np.abs(self.boxes - corners[self.tile_of]) <= edges[self.tile_of][:, None]
        beyond = (self.boxes - corners[self.tile_of]) * np.array([1, 1, -1, -1]) < 0
        return np.asarray((near | beyond) & inner[self.tile_of])

    def depth(self, tile: int, points: Floats) -> Floats:
        """Returns how far points [k, 2] (x, y) lie inside a tile, in pixels from its nearest edge within the image."""
        region = self.tiles[tile]
        x, y = points[:, 0], points[:, 1]
        distances = [
            (x - region.left, region.left > 0),
            (y - region.top, region.top > 0),
            (region.right - x, region.right < self.size.width),
            (region.bottom - y, region.bottom < self.size.height),
        ]
        return np.asarray(np.min([far if inner else np.full(len(x), np.inf) for far, inner in distances], axis=0))


def facing(one: Region, other: Region) -> Bools:
    """Returns [4], which edges (left, upper, right, lower) of a tile face another one."""
    return np.array([other.left < one.left, other.top < one.top, other.right > one.right, other.bottom > one.bottom])


def touching(tiles: Sequence[Region]) -> list[tuple[int, int]]:
    """Returns the pairs of tiles that share pixels or an edge, each pair once, in order.

    Tiles are looked up by their rows and columns: a slide has tens of thousands of them, and billions of pairs.
    """
    rows: dict[int, list[tuple[int, int]]] = {}
    for place, tile in enumerate(tiles):
        rows.setdefault(tile.top, []).append((tile.left, place))
    for row in rows.values():
        row.sort()
    tops, widest = sorted(rows), max((tile.size.width for tile in tiles), default=0)
    found: set[tuple[int, int]] = set()
    for first, tile in enumerate(tiles):
        for top in tops[bisect_left(tops, tile.top) : bisect_right(tops, tile.bottom)]:
            row = rows[top]
            near = row[bisect_left(row, (tile.left - widest, 0)) : bisect_right(row, (tile.right, len(tiles)))]
            for _, second in near:
                if first != second and min(tile.inside(tiles[second]).size) >= 0:
                    found.add((min(first, second), max(first, second)))
    return sorted(found)


def clipped(boxes: Floats, region: Region) -> Floats:
    """Returns the parts of boxes [k, 4] in a region; an empty part has a side of 0."""
    low, high = np.array([region.left, region.top]), np.array([region.right, region.bottom])
    first = boxes[:, :2].clip(low, high)
    return np.concatenate([first, np.maximum(boxes[:, 2:].clip(low, high), first)], axis=1)


def intersections(one: Floats, other: Floats) -> Floats:
    """Returns [k, n], the areas that boxes [k, 4] and [n, 4] share."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray((high - low).clip(min=0).prod(axis=2))


def areas(boxes: Floats) -> Floats:
    """Returns [k], the areas of boxes [k, 4]."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1))


def overlaps(one: Floats, other: Floats) -> Floats:
    """Returns [k, n], the intersections over the unions of boxes [k, 4] and [n, 4]; 0 where both are empty."""
    shared = intersections(one, other)
    union = areas(one)[:, None] + areas(other)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0))
