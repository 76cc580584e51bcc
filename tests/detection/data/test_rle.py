"""COCO's run lengths, as numbers and as text."""

import numpy as np
import pytest

from maekit.detection.data.coco.rle import bitmap_of_counts, counts_of_bitmap, text_of_bitmap, whole_counts
from tests.detection.data.helpers import RNG


def test_shapes_are_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    for _ in range(200):
        height, width = RNG.integers(1, 90, 2).tolist()
        bitmap = RNG.random((height, width)) < RNG.random()
        theirs = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()
        assert text_of_bitmap(bitmap) == theirs
        counts, size = whole_counts({"size": [height, width], "counts": theirs})
        assert (counts.tolist(), size) == (counts_of_bitmap(bitmap), (height, width))
        np.testing.assert_array_equal(bitmap_of_counts(counts, size), bitmap)
    large = np.zeros((3000, 5000), bool)
    large[2999, 4000:] = True
    text = coco_mask.encode(np.asfortranarray(large.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(bitmap_of_counts(*whole_counts({"size": [3000, 5000], "counts": text})), large)


BAD_COUNTS: list[object] = [
    "é", "\x01", "o", "ooooooooo0", " 1", "", "P" * 5000, "~~~~", "ab\0c", [], [17],
    [-1, 17], [2**70], ["a"], [[16]], 3, None
]  # fmt: skip


@pytest.mark.parametrize("counts", BAD_COUNTS)
def test_run_lengths_of_no_sense(counts: object) -> None:
    with pytest.raises(ValueError):
        whole_counts({"size": [4, 4], "counts": counts})


@pytest.mark.parametrize("size", [None, [], [4], [-4, -4], [4, 4, 1], ["a", 4], [2**70, 4], [2**32, 2**32], 4])
def test_sizes_of_run_lengths_of_no_sense(size: object) -> None:
    for counts in ([16], text_of_bitmap(np.zeros((4, 4), bool))):
        with pytest.raises(ValueError):
            whole_counts({"size": size, "counts": counts})
