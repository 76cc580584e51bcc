"""Rectangles, tiles and the places of windows."""

from itertools import pairwise

import numpy as np
import pytest

from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.tiles.region import Region, starts, tiles


@pytest.mark.parametrize(("height", "width"), [(100, 237), (64, 64), (63, 500), (1, 1), (129, 128)])
def test_tiles_cover_an_image_and_share_the_overlap(height: int, width: int) -> None:
    found = tiles(HeightWidth(height, width), 64, 16)
    hits = np.zeros((height, width), dtype=int)
    for region in found:
        assert region.size == (min(64, height), min(64, width))
        hits[region.rows, region.columns] += 1
    assert hits.min() == 1
    lefts = sorted({region.left for region in found})
    assert all(right - left <= 48 for left, right in pairwise(lefts))
    assert [(region.top, region.left) for region in found] == sorted((region.top, region.left) for region in found)


def test_the_last_window_ends_with_the_side() -> None:
    assert starts(10, 4, 3) == [0, 3, 6]
    assert starts(11, 4, 3) == [0, 3, 6, 7]
    assert starts(3, 4, 3) == [0]


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (-4, 0), (64, 64), (64, 80), (64, -1)])
def test_tiles_that_cover_nothing_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(UserError, match=str(tile if tile < 1 else overlap)):
        tiles(HeightWidth(100, 100), tile, overlap)


def test_the_part_of_a_region_in_another() -> None:
    assert Region(0, 0, 10, 10).inside(Region(5, -3, 20, 4)) == (5, 0, 10, 4)
    assert Region(5, 0, 10, 4).words() == "rows 5 to 9, columns 0 to 3"
