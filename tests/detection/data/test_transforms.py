"""Images with objects on their way to tensors: against plain NumPy, and detectron2 where it is installed."""

import importlib
import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.data import seeded
from maekit.detection.data.batch import InstanceMask
from maekit.detection.data.polygons import clip_polygon
from maekit.detection.data.transforms import DetEvalTransform, DetTrainTransform, Move, box_of, evaluation_size
from maekit.errors import UserError
from maekit.system.size import HeightWidth

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
RNG = np.random.default_rng(0)
SIDE = 96
NUMBERS: dict[str, Any] = {
    "image_size": SIDE,
    "scale_range": [0.1, 2.0],
    "horizontal_flip": 0.5,
    "mean": MEAN,
    "std": STD,
}


def star(height: int, width: int, *, reach: float = 0.6) -> np.ndarray:
    """A random polygon [2 n] that does not cross itself: points at rising angles around a centre."""
    centre = RNG.uniform(0, 1, 2) * [width, height]
    count = int(RNG.integers(5, 30))
    angles = (np.arange(count) + RNG.uniform(0, 0.9, count)) * (2 * np.pi / count)
    radius = RNG.uniform(0.1, 1, count) * RNG.uniform(0.05, reach) * max(height, width)
    return np.asarray((centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)).reshape(-1))


def contains(outline: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[n] bool: whether a ray to the right of each of [n, 2] points crosses an odd number of edges."""
    start = outline.reshape(-1, 2)
    stop = np.roll(start, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (stop[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = start[:, 0] + (y - start[:, 1]) / (stop[:, 1] - start[:, 1]) * (stop[:, 0] - start[:, 0])
    return np.asarray((spans & (x < crossing)).sum(axis=1) % 2 == 1)


def area(outline: np.ndarray) -> float:
    x, y = outline.reshape(-1, 2).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))) / 2


def pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def normalised(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(((pixels / 255 - MEAN) / STD).transpose(2, 0, 1))


@pytest.mark.parametrize("crossing", [False, True])
def test_clipping_keeps_what_is_inside(crossing: bool) -> None:
    low, high = (20.0, 30.0), (70.0, 65.0)
    pieces_seen = 0
    for _ in range(300):
        outline = RNG.uniform(-20, 120, 2 * int(RNG.integers(3, 12))) if crossing else star(100, 100)
        pieces = clip_polygon(outline, low, high)
        points = RNG.uniform((-20, -20), (120, 120), (400, 2))
        within = (points > low).all(axis=1) & (points < high).all(axis=1)
        expected = contains(outline, points) & within
        found = (
            np.sum([contains(piece, points) for piece in pieces], axis=0) % 2 == 1 if pieces else np.zeros(400, bool)
        )
        np.testing.assert_array_equal(found, expected)
        for piece in pieces:
            assert (piece.reshape(-1, 2) >= low).all()
            assert (piece.reshape(-1, 2) <= high).all()
            assert area(piece) > 0
        pieces_seen += len(pieces) > 1
    assert pieces_seen > 10


def test_pieces_are_apart_and_have_no_thread_along_the_edge() -> None:
    """A C around the corner of the rectangle: cut a line after the other, threads would widen its box."""
    horns = np.array([-5, -5, 60, -5, 60, 3, 55, 3, 55, -2, -2, -2, -2, 20, 4, 20, 4, 24, -5, 24], float)
    pieces = clip_polygon(horns, (0.0, 0.0), (100.0, 100.0))
    boxes = sorted([*piece.reshape(-1, 2).min(axis=0), *piece.reshape(-1, 2).max(axis=0)] for piece in pieces)
    assert boxes == [[0, 20, 4, 24], [55, 0, 60, 3]]
    only = horns.copy()
    only[[5, 7]] = -1.0  # the upper horn stays above
    (piece,) = clip_polygon(only, (0.0, 0.0), (100.0, 100.0))
    assert box_of(InstanceMask((piece,), None)).tolist() == [0, 20, 4, 24]


@pytest.mark.parametrize(
    ("outline", "left"),
    [
        ([2, 2, 8, 2, 8, 8, 2, 8], 36.0),  # inside: as it is
        ([0, 0, 10, 0, 10, 10, 0, 10], 100.0),  # the rectangle itself
        ([-5, -5, 15, -5, 15, 15, -5, 15], 100.0),  # around it
        ([10, 0, 20, 0, 20, 10, 10, 10], 0.0),  # touches an edge
        ([10, 10, 20, 10, 20, 20], 0.0),  # touches a corner
        ([11, 0, 20, 0, 20, 10], 0.0),
        ([5, 5, 5, 9, 5, 20], 0.0),  # a line
        ([5, 5, 5, 5, 5, 5], 0.0),
        ([0, 5, 5, 0, 10, 5, 5, 10], 50.0),  # corners on the edges
        ([-10, 5, 5, -10, 20, 5, 5, 20], 100.0),
        ([-5, 0, 5, 0, 5, 10, -5, 10], 50.0),  # edges along edges
        ([0, 0, 5, 5, 10, 0, 10, 10, 5, 5, 0, 10], 50.0),  # touches itself
    ],
)
def test_clipping_at_its_limits(outline: list[float], left: float) -> None:
    for shift in range(0, len(outline), 2):
        turned = np.roll(np.array(outline, float), shift)
        for way in (turned, turned.reshape(-1, 2)[::-1].reshape(-1)):
            assert sum(map(area, clip_polygon(way, (0.0, 0.0), (10.0, 10.0)))) == pytest.approx(left, abs=1e-12)


def test_training_is_flip_resize_crop_and_pad() -> None:
    transform = DetTrainTransform(**NUMBERS)
    flips = crops = pads = 0
    for seed in range(80):
        height, width = RNG.integers(20, 160, 2).tolist()
        image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
        outline = np.array([0.1 * width, 0.2 * height, 0.8 * width, 0.2 * height, 0.8 * width, 0.9 * height])
        np.random.seed(seed)
        picture, size, boxes, labels, masks = transform(Image.fromarray(image), [InstanceMask((outline,), None)], [4])
        np.random.seed(seed)
        flip, scale, place = np.random.uniform(0, 1) < 0.5, np.random.uniform(0.1, 2.0), np.random.uniform(0, 1)
        factor = min(SIDE * scale / height, SIDE * scale / width)
        large = tuple(max(1, int(np.round(side * factor))) for side in (height, width))
        top, left = (int(np.round(max(side - SIDE, 0) * place)) for side in large)
        pixels = pillow(image[:, ::-1] if flip else image, (large[0], large[1]))[top : top + SIDE, left : left + SIDE]
        assert size == pixels.shape[:2]
        expected = np.zeros((3, SIDE, SIDE))
        expected[:, : size[0], : size[1]] = normalised(pixels)
        np.testing.assert_allclose(picture.numpy(), expected, rtol=0, atol=2e-6)
        points = outline.reshape(-1, 2).copy()
        if flip:
            points[:, 0] = width - points[:, 0]
        points = points * [large[1] / width, large[0] / height] - [left, top]
        sample = RNG.uniform((0, 0), size[::-1], (300, 2))
        shown = np.any([contains(piece, sample) for mask in masks for piece in mask.polygons], axis=0)
        np.testing.assert_array_equal(np.broadcast_to(shown, 300), contains(points.reshape(-1), sample))
        for box, mask in zip(boxes, masks, strict=True):
            corners = np.concatenate(mask.polygons).reshape(-1, 2)
            assert box.tolist() == [*corners.min(axis=0).astype(np.float32), *corners.max(axis=0).astype(np.float32)]
            assert (box >= 0).all()
            assert (box[2:] <= torch.tensor(size[::-1])).all()
        assert labels.tolist() == [4] * len(masks)
        flips, crops, pads = flips + flip, crops + (max(large) > SIDE), pads + (min(size) < SIDE)
    assert min(flips, 80 - flips, crops, pads) > 15


def test_a_bitmap_goes_the_same_way() -> None:
    transform = DetTrainTransform(**NUMBERS)
    empty = 0
    for seed in range(60):
        height, width = RNG.integers(20, 160, 2).tolist()
        bitmap = np.zeros((height, width), bool)
        top, left = RNG.integers(0, (height - 8, width - 8))
        bitmap[top : top + 8, left : left + 8] = RNG.random((8, 8)) < 0.7
        image = Image.new("RGB", (width, height))
        np.random.seed(seed)
        _, size, boxes, _, masks = transform(image, [InstanceMask((), bitmap)], [0])
        np.random.seed(seed)
        move = transform.draw(HeightWidth(height, width))
        source = bitmap[:, ::-1] if move.flip else bitmap
        large = Image.fromarray(source.astype(np.uint8)).resize(move.resized[::-1], Image.Resampling.NEAREST)
        shown = np.asarray(large)[move.top : move.top + SIDE, move.left : move.left + SIDE] > 0
        assert shown.shape == size == move.after
        if not shown.any():
            assert masks == []
            empty += 1
            continue
        expected = np.zeros((SIDE, SIDE), bool)
        expected[: size[0], : size[1]] = shown
        assert masks[0].bitmap is not None
        np.testing.assert_array_equal(masks[0].bitmap, expected)
        y, x = np.nonzero(expected)
        assert boxes.tolist() == [[x.min(), y.min(), x.max() + 1, y.max() + 1]]
    assert 3 < empty < 50


def test_what_the_picture_does_not_show_is_dropped() -> None:
    transform = DetTrainTransform(**{**NUMBERS, "scale_range": [1.0, 1.0], "horizontal_flip": 0.0})
    masks = [
        InstanceMask((np.array([200.0, 5, 300, 5, 300, 50]),), None),  # beyond the image
        InstanceMask((np.array([5.0, 5, 50, 5, 50, 50]),), None),
        InstanceMask((np.array([5.0, 5, 50, 5, 27, 5]),), None),  # a line
        InstanceMask((np.array([5.0, 5, 5 + 4e-6, 5, 5, 90]),), None),  # narrower than 0.00001
        InstanceMask((), np.zeros((96, 96), bool)),
        InstanceMask((np.array([200.0, 5, 300, 5, 300, 50]), np.array([90.0, 90, 100, 90, 100, 100])), None),
    ]
    _, _, boxes, labels, kept = transform(Image.new("RGB", (96, 96)), masks, list(range(6)))
    assert labels.tolist() == [1, 5]
    assert boxes.tolist() == [[5, 5, 50, 50], [90, 90, 96, 96]]
    assert [len(mask.polygons) for mask in kept] == [1, 1]
    _, _, boxes, labels, kept = transform(Image.new("RGB", (96, 96)), [], [])
    assert (boxes.shape, boxes.dtype, labels.dtype, kept) == ((0, 4), torch.float32, torch.int64, [])


def test_a_strip_keeps_a_pixel() -> None:
    for size in ((1, 3000), (3000, 1)):
        image = Image.new("RGB", size)
        with seeded(0, 0, 0):
            picture, inside, *_ = DetTrainTransform(**NUMBERS)(image, [], [])
        assert min(inside) >= 1
        assert DetEvalTransform(image_size=SIDE, mean=MEAN, std=STD)(image)[1] == ((1, 96) if size[0] > 1 else (96, 1))
        assert picture.shape == (3, SIDE, SIDE)


def test_draws_come_from_numpys_state() -> None:
    transform = DetTrainTransform(**NUMBERS)
    with seeded(0, 1, 2):
        first = [transform.draw(HeightWidth(480, 640)) for _ in range(50)]
    with seeded(0, 1, 2):
        assert first == [transform.draw(HeightWidth(480, 640)) for _ in range(50)]
    with seeded(0, 1, 3):
        assert first != [transform.draw(HeightWidth(480, 640)) for _ in range(50)]


def test_evaluation_fits_and_pads() -> None:
    transform = DetEvalTransform(image_size=SIDE, mean=MEAN, std=STD)
    again = DetEvalTransform(**transform.describe())
    for height, width in ((40, 60), (60, 40), (96, 96), (300, 200), (33, 33), (97, 511)):
        image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture, size = transform(Image.fromarray(image))
        factor = SIDE / max(height, width)
        assert size == (round(height * factor), round(width * factor))
        expected = np.zeros((3, SIDE, SIDE))
        expected[:, : size[0], : size[1]] = normalised(pillow(image, size))
        np.testing.assert_allclose(picture.numpy(), expected, rtol=0, atol=2e-6)
        assert torch.equal(picture, again(Image.fromarray(image))[0])


def test_evaluated_sizes_are_detectron2s() -> None:
    """What ResizeShortestEdge(1024, 1024).get_output_shape of detectron2 0.6 returns."""
    table = {(480, 640): (768, 1024), (427, 640): (683, 1024), (640, 425): (1024, 680), (500, 333): (1024, 682),
             (375, 500): (768, 1024), (333, 333): (1024, 1024), (1, 640): (2, 1024), (721, 1): (1024, 1)}  # fmt: skip
    assert {size: evaluation_size(HeightWidth(*size), 1024) for size in table} == table


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"image_size": 0}, "data.image_size: got 0, expected 1 or more pixels"),
        ({"scale_range": [2.0, 0.1]}, "data.scale_range: got [2.0, 0.1], expected two numbers above 0, smaller first"),
        ({"scale_range": [0.0, 1.0]}, "data.scale_range: got [0.0, 1.0], expected two numbers above 0, smaller first"),
        ({"scale_range": [1.0]}, "data.scale_range: got [1.0], expected two numbers above 0, smaller first"),
        ({"horizontal_flip": 1.5}, "data.horizontal_flip: got 1.5, expected a probability of 0 to 1"),
        (
            {"std": [1.0, 0.0, 1.0]},
            "data.std: got [1.0, 0.0, 1.0], expected 3 numbers, each above 0",
        ),
    ],
)
def test_wrong_numbers(change: dict[str, Any], fact: str) -> None:
    with pytest.raises(UserError) as caught:
        DetTrainTransform(**{**NUMBERS, **change})
    assert str(caught.value).startswith(fact)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def peer() -> types.SimpleNamespace:
    """detectron2's modules; it needs shapely to crop polygons."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("detectron2")
        pytest.importorskip("shapely")
        names = {"moves": "transforms", "utils": "detection_utils"}
        return types.SimpleNamespace(
            **{key: importlib.import_module(f"detectron2.data.{n}") for key, n in names.items()}
        )


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.detectron2
@pytest.mark.parametrize("form", ["polygon", "bitmask"])
def test_training_is_detectron2s(peer: Any, form: str) -> None:
    transform = DetTrainTransform(**NUMBERS)
    steps = [peer.moves.RandomFlip(horizontal=True), peer.moves.ResizeScale(0.1, 2.0, SIDE, SIDE)]
    augment = peer.moves.AugmentationList([*steps, peer.moves.FixedSizeCrop((SIDE, SIDE), pad=False)])
    objects = 0
    for seed in range(60):
        height, width = RNG.integers(30, 200, 2).tolist()
        image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
        shapes: list[Any] = [(star(height, width, reach=0.4).clip(0.0),) for _ in range(4)]
        shapes = [(outline.reshape(-1, 2).clip(0, (width, height)).reshape(-1),) for (outline,) in shapes]
        shapes = [shape for shape in shapes if peer_valid(shape[0])]
        masks = [InstanceMask(shape, None) for shape in shapes]
        if form == "bitmask":
            y, x = np.mgrid[:height, :width]
            centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
            masks = [InstanceMask((), contains(s[0], centres).reshape(height, width)) for s in shapes]
        np.random.seed(seed)
        picture, size, boxes, labels, kept = transform(Image.fromarray(image), masks, list(range(len(masks))))
        np.random.seed(seed)
        given = peer.moves.AugInput(image.copy())
        moves = augment(given)
        annotations = [
            peer.utils.transform_instance_annotations(
                {"bbox": [0, 0, 1, 1], "bbox_mode": 1, "category_id": label, "segmentation": [list(shapes[label][0])]}
                if form == "polygon"
                else {"bbox": [0, 0, 1, 1], "bbox_mode": 1, "category_id": label, "segmentation": encode(mask.bitmap)},
                moves,
                given.image.shape[:2],
            )
            for label, mask in enumerate(masks)
        ]
        theirs = peer.utils.annotations_to_instances(annotations, given.image.shape[:2], mask_format=form)
        theirs.gt_boxes = theirs.gt_masks.get_bounding_boxes()
        theirs = peer.utils.filter_empty_instances(theirs)
        assert size == given.image.shape[:2]
        expected = normalised(given.image)
        np.testing.assert_allclose(picture[:, : size[0], : size[1]].numpy(), expected, rtol=0, atol=2e-6)
        assert labels.tolist() == theirs.gt_classes.tolist()
        torch.testing.assert_close(boxes, theirs.gt_boxes.tensor, rtol=0, atol=1e-5)
        for mask, other in zip(kept, theirs.gt_masks, strict=True):
            if mask.bitmap is not None:
                np.testing.assert_array_equal(mask.bitmap[: size[0], : size[1]], other.numpy())
            else:
                assert sum(map(area, mask.polygons)) == pytest.approx(sum(map(area, other)), rel=1e-9, abs=1e-9)
        objects += len(labels)
    assert objects > 100


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.detectron2
def test_boxes_alone_are_detectron2s(peer: Any) -> None:
    """Without shapes it moves the annotated boxes themselves."""
    transform = DetTrainTransform(**NUMBERS)
    steps = [peer.moves.RandomFlip(horizontal=True), peer.moves.ResizeScale(0.1, 2.0, SIDE, SIDE)]
    augment = peer.moves.AugmentationList([*steps, peer.moves.FixedSizeCrop((SIDE, SIDE), pad=False)])
    objects = 0
    for seed in range(60):
        size = HeightWidth(*RNG.integers(30, 200, 2).tolist())
        image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        corners = np.sort(RNG.uniform(0, 1, (4, 2, 2)), axis=1) * (size.width, size.height)
        boxes = [corner.reshape(-1) for corner in corners]
        np.random.seed(seed)
        _, _, found, labels = transform.moved_boxes(transform.draw(size), Image.fromarray(image), boxes, [0, 1, 2, 3])
        np.random.seed(seed)
        given = peer.moves.AugInput(image.copy())
        moves = augment(given)
        notes = [{"bbox": box.tolist(), "bbox_mode": 0, "category_id": at} for at, box in enumerate(boxes)]
        moved = [peer.utils.transform_instance_annotations(note, moves, given.image.shape[:2]) for note in notes]
        theirs = peer.utils.filter_empty_instances(peer.utils.annotations_to_instances(moved, given.image.shape[:2]))
        assert labels.tolist() == theirs.gt_classes.tolist()
        torch.testing.assert_close(found, theirs.gt_boxes.tensor, rtol=0, atol=1e-4)
        objects += len(labels)
    assert objects > 100


@pytest.mark.parametrize("flip", [False, True])
def test_a_box_moves_as_a_shape_that_fills_it(flip: bool) -> None:
    size, box = HeightWidth(60, 90), np.array([11.5, 7.25, 70.0, 58.0])
    x0, y0, x1, y1 = box
    mask = InstanceMask((np.array([x0, y0, x1, y0, x1, y1, x0, y1]),), None)
    for left, top in ((0, 0), (30, 10), (80, 0)):
        move = Move(flip, size, HeightWidth(80, 110), top, left, HeightWidth(50, 30))
        seen = move.shape(mask)
        expected = np.zeros(4) if seen is None else box_of(seen)
        found = move.box(box)
        if seen is None:
            assert min(found[2] - found[0], found[3] - found[1]) == 0
        else:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def peer_valid(outline: np.ndarray) -> bool:
    """Whether shapely takes a polygon as it is; what crosses itself it mends, and loses parts of."""
    geometry = importlib.import_module("shapely.geometry")
    return bool(geometry.Polygon(outline.reshape(-1, 2)).is_valid)


def encode(bitmap: np.ndarray | None) -> Any:
    assert bitmap is not None
    return importlib.import_module("pycocotools.mask").encode(np.asfortranarray(bitmap.astype(np.uint8)))


@pytest.mark.detectron2
def test_sizes_are_detectron2s(peer: Any) -> None:
    for _ in range(3000):
        size = tuple(RNG.integers(1, 3000, 2).tolist())
        side = int(RNG.integers(32, 1500))
        theirs = peer.moves.ResizeShortestEdge.get_output_shape(*size, side, side)
        assert evaluation_size(HeightWidth(*size), side) == tuple(max(1, value) for value in theirs)
