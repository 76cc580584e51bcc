"""Objects on the seams of tiles are found once and whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from maekit.base.tile_options import TileOptions
from maekit.detection.data.coco.rle import cut_out, text_of_bitmap, text_of_part
from maekit.detection.metrics.coco_masks import CocoResults, decode_masks, encode_masks
from maekit.detection.tiled.join import join
from maekit.detection.tiled.predictor import detector_tiles, joined_results
from maekit.detection.tiled.views import Views, touching
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.tiles.region import tiles
from tests.detection.tiled.helpers import Detector, faults, found_in, scene

CPU = torch.device("cpu")
SIZE = HeightWidth(300, 340)


@pytest.mark.parametrize("seed", range(5))
def test_objects_that_fit_the_overlap_are_found_once_with_their_class(seed: int, tmp_path: Path) -> None:
    made = scene(seed, SIZE, 128, 48, (16, 44))
    assert len(made.labels) >= 8
    found = found_in(made, tmp_path, 128, 48, Detector(draw=np.random.default_rng(seed)))
    assert faults(made, found, classes=True) == []


@pytest.mark.parametrize("overlap", [0, 2, 10, 20])
@pytest.mark.parametrize("seed", range(2))
def test_objects_larger_than_the_overlap_are_joined(overlap: int, seed: int, tmp_path: Path) -> None:
    made = scene(seed, SIZE, 128, overlap, (30, 60), count=8)
    found = found_in(made, tmp_path, 128, overlap, Detector(0, 0, 1, np.random.default_rng(seed)))
    assert faults(made, found, classes=True) == []


@pytest.mark.slow
def test_many_scenes_lose_and_double_no_object(tmp_path: Path) -> None:
    """`python -m benchmarks.seams` makes 200 of them."""
    wrong = {}
    for seed in range(8, 60):
        made = scene(seed, SIZE, 128, 48, (16, 44))
        found = found_in(made, tmp_path, 128, 48, Detector(draw=np.random.default_rng(seed)))
        if bad := faults(made, found, classes=True):
            wrong[seed] = bad
    assert wrong == {}


def views(boxes: Sequence[Sequence[float]], scores: list[float], labels: list[int], tile_of: list[int]) -> Views:
    size = HeightWidth(100, 180)
    return Views(
        tiles(size, 100, 20), size, np.array(boxes, dtype=float), np.array(scores), np.array(labels), np.array(tile_of)
    )


def test_of_two_views_the_whole_one_is_kept_with_the_best_score_of_its_class() -> None:
    (one,) = join(views([[70, 10, 95, 30], [80, 10, 95, 30]], [0.6, 0.9], [3, 3], [0, 1]))
    assert (one.box, one.score, one.label, one.views) == ((70, 10, 95, 30), 0.9, 3, (0,))


def test_a_part_of_another_class_goes_where_a_tile_sees_the_whole() -> None:
    (one,) = join(views([[70, 10, 95, 30], [80, 10, 95, 30]], [0.6, 0.9], [3, 8], [0, 1]))
    assert (one.label, one.score) == (3, 0.6)


def test_a_whole_that_is_hardly_seen_does_not_win_over_another_class() -> None:
    (one,) = join(views([[70, 10, 95, 30], [80, 10, 95, 30]], [0.1, 0.9], [3, 8], [0, 1]))
    assert (one.label, one.score) == (8, 0.9)


def test_neighbours_of_one_class_stay_two_objects() -> None:
    found = join(views([[60, 10, 85, 30], [86, 10, 120, 30], [88, 50, 99, 60]], [0.9, 0.8, 0.7], [3, 3, 3], [0, 1, 1]))
    assert [one.views for one in found] == [(0,), (1,), (2,)]


def test_a_small_object_on_a_large_one_of_its_class_stays() -> None:
    boxes = [[10, 10, 98, 90], [84, 40, 92, 48]]
    assert len(join(views(boxes, [0.9, 0.8], [3, 3], [0, 1]))) == 2


def test_a_part_that_no_other_tile_finds_is_kept() -> None:
    (one,) = join(views([[80, 10, 95, 30]], [0.9], [3], [1]))
    assert one.box == (80, 10, 95, 30)


def test_the_image_s_own_edge_cuts_nothing() -> None:
    found = join(views([[0, 0, 30, 30], [150, 60, 180, 100]], [0.9, 0.8], [1, 2], [0, 1]))
    assert len(found) == 2


def test_objects_of_several_classes_make_no_chain_from_one_object_to_the_next() -> None:
    """As a trained detector finds them: digits beside a seam, one of them as two classes in each tile."""
    size = HeightWidth(100, 200)
    left, right = (62, 10, 98, 50), (100, 10, 130, 50)
    boxes = np.array([left, left, right, right, right, right], dtype=float)
    scores, labels = np.array([0.6, 0.9, 0.8, 0.1, 0.7, 0.1]), np.array([1, 1, 2, 1, 2, 1])
    found = join(Views(tiles(size, 100, 50), size, boxes, scores, labels, np.array([0, 1, 1, 1, 2, 2])))
    assert [(one.box, one.label, one.score) for one in found] == [(left, 1, 0.9), (right, 2, 0.8), (right, 1, 0.1)]


def test_a_tile_s_second_view_of_an_object_joins_no_part_of_it() -> None:
    boxes = [[60, 10, 100, 50], [62, 12, 100, 48], [80, 10, 130, 50]]
    (one,) = join(views(boxes, [0.9, 0.4, 0.8], [3, 5, 3], [0, 0, 1]))
    assert (one.box, one.label, one.views) == ((60, 10, 130, 50), 3, (0, 2))


@pytest.mark.parametrize(("size", "overlap"), [((90, 130), 5), ((90, 130), 15), ((20, 100), 0), ((31, 33), 17)])
def test_touching_tiles_are_those_that_share_pixels_or_an_edge(size: tuple[int, int], overlap: int) -> None:
    places = tiles(HeightWidth(*size), 20, overlap)
    every = [(a, b) for b in range(len(places)) for a in range(b)]
    assert touching(places) == sorted((a, b) for a, b in every if min(places[a].inside(places[b]).size) >= 0)


def test_an_object_larger_than_a_tile_is_one_object() -> None:
    size = HeightWidth(100, 260)
    places = tiles(size, 100, 20)
    boxes = [[50, 10, 100, 60], [80, 10, 180, 60], [160, 10, 200, 60]]
    masks = [np.zeros((1, 100, 100), dtype=bool) for _ in places]
    parts = []
    for place, box, mask in zip(places, boxes, masks, strict=True):
        local = np.array(box) - [place.left, place.top] * 2
        mask[0, int(local[1]) : int(local[3]), int(local[0]) : int(local[2])] = True
        parts.append(CocoResults(local[None], np.array([0.8]), np.array([4]), encode_masks(mask)))
    found = joined_results(parts, places, size)
    assert found.boxes.tolist() == [[50, 10, 200, 60]]
    expected = np.zeros(size, dtype=bool)
    expected[10:60, 50:200] = True
    assert found.rles is not None
    np.testing.assert_array_equal(decode_masks(found.rles, size)[0], expected)


def test_tiles_without_objects_give_none() -> None:
    size = HeightWidth(100, 180)
    nothing = CocoResults(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64), [])
    found = joined_results([nothing, nothing], tiles(size, 100, 20), size)
    assert (found.boxes.shape, found.rles) == ((0, 4), [])
    boxes_alone = nothing._replace(rles=None)
    assert joined_results([boxes_alone, boxes_alone], tiles(size, 100, 20), size).rles is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (TileOptions(), (1024, 256)),
        (TileOptions(tile=512), (512, 128)),
        (TileOptions(scale=0.5, overlap=100), (2048, 100)),
        (TileOptions(tile=2048, scale=0.5), (2048, 512)),
    ],
)
def test_tile_and_scale_are_one_number(options: TileOptions, expected: tuple[int, int]) -> None:
    assert detector_tiles(options, 1024) == expected


@pytest.mark.parametrize("options", [TileOptions(tile=512, scale=0.5), TileOptions(tile=512, overlap=512)])
def test_a_tile_that_fits_neither_scale_nor_overlap_is_refused(options: TileOptions) -> None:
    with pytest.raises(UserError, match="512"):
        detector_tiles(options, 1024)


def test_a_part_of_a_mask_is_coded_as_the_whole_mask() -> None:
    draw = np.random.default_rng(0)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        for height, width in ((1, 1), (7, 1), (1, 9), (13, 17)):
            bitmap = draw.random((height, width)) < share
            text = text_of_bitmap(bitmap)
            part, top, left = cut_out({"size": [height, width], "counts": text})
            assert text_of_part(part, top, left, HeightWidth(height, width)) == text
