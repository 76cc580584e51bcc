"""The parts of Mask R-CNN, each against something written out another way."""

import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch import Tensor

from maekit.detection.channel_norm import ChannelNorm
from maekit.detection.data.batch import InstanceMask
from maekit.detection.mask_rcnn.anchors import anchor_shapes, grid_anchors
from maekit.detection.mask_rcnn.boxes import BoxCoder, clipped, not_empty
from maekit.detection.mask_rcnn.losses import mask_loss, proposal_losses, region_losses
from maekit.detection.mask_rcnn.mask_targets import mask_targets
from maekit.detection.mask_rcnn.matching import draw, draw_regions, match
from maekit.detection.mask_rcnn.paste import paste_masks
from maekit.detection.mask_rcnn.pooling import map_of, pool_regions
from maekit.detection.mask_rcnn.types import Regions
from maekit.system.size import HeightWidth
from tests.numeric import assert_float64, assert_fp32

pytestmark = pytest.mark.numeric

NONE = torch.zeros(0, 4)
NO_LABELS = torch.zeros(0, dtype=torch.int64)


def _boxes(count: int, seed: int = 0, side: float = 100) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * side], 1)


@pytest.mark.usefixtures("float64")
def test_anchors_are_laid_on_corners_and_not_rounded() -> None:
    shapes = anchor_shapes([32, 64], [0.5, 1.0, 2.0])
    sides = shapes[..., 2:] - shapes[..., :2]
    assert_fp32(sides.prod(-1), torch.tensor([32.0, 64.0])[:, None].expand(2, 3) ** 2)
    assert_fp32(sides[..., 1] / sides[..., 0], torch.tensor([0.5, 1.0, 2.0]).expand(2, 3))
    maps = [torch.zeros(1, 1, 3, 5), torch.zeros(1, 1, 2, 2)]
    first, second = grid_anchors(maps, [4, 8], shapes)
    assert first.shape == (3 * 5 * 3, 4)
    for row in range(3):
        for column in range(5):
            for shape in range(3):
                x, y = column * 4, row * 4
                width = 32 / math.sqrt([0.5, 1.0, 2.0][shape])
                height = 32 * 32 / width
                expected = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
                assert_fp32(first[(row * 5 + column) * 3 + shape], expected)
    assert torch.equal(second[9:12], second[:3] + 8)


def test_matching_follows_the_thresholds_and_forces_the_best() -> None:
    true = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 52], [80, 80, 90, 90]])
    kind, objects = match(boxes, true, 0.3, 0.7, force=False)
    assert kind.tolist() == [1, -1, 0, 0, 0]  # overlaps 1, 0.5, 0.2, 0.2, 0
    kind, objects = match(boxes, true, 0.3, 0.7, force=True)
    assert kind.tolist() == [1, -1, 0, 1, 0]
    assert objects[[0, 3]].tolist() == [0, 1]
    exactly = match(boxes[1:2], true, 0.5, 0.5, force=False)[0]
    assert exactly.tolist() == [1]
    for given, objects_given in ((boxes, NONE), (NONE, true)):
        kind, objects = match(given, objects_given, 0.3, 0.7, force=True)
        assert kind.tolist() == objects.tolist() == [0] * len(given)


def test_draws_are_of_the_asked_number_and_share() -> None:
    kind = torch.tensor([1] * 40 + [0] * 300 + [-1] * 60)
    for count, positive, expected in ((100, 0.25, (25, 75)), (400, 0.5, (40, 300)), (60, 0.9, (40, 20))):
        objects, background = draw(kind, count, positive)
        assert (int(objects.sum()), int(background.sum())) == expected
        assert (kind[objects] == 1).all()
        assert (kind[background] == 0).all()


def test_regions_hold_the_objects_own_boxes_and_background_is_the_last_class() -> None:
    true, labels = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), torch.tensor([3, 1])
    proposals = torch.tensor([[80.0, 80, 90, 90], [0, 0, 10, 8]])
    regions = draw_regions(proposals, true, labels, num_classes=5, iou=0.5, count=100, positive=1.0)
    found = {tuple(box): (label, thing) for box, label, thing in zip(*(part.tolist() for part in regions), strict=True)}
    assert len(found) == 4
    assert found[80.0, 80, 90, 90][0] == 5
    assert found[0.0, 0, 10, 8] == (3, 0)
    assert found[50.0, 50, 60, 60] == (1, 1)
    without = draw_regions(proposals, NONE, NO_LABELS, num_classes=5, iou=0.5, count=100, positive=1.0)
    assert without.labels.tolist() == [5, 5]
    nothing = draw_regions(NONE, NONE, NO_LABELS, num_classes=5, iou=0.5, count=100, positive=1.0)
    assert [tuple(part.shape) for part in nothing] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize(
    ("side", "level"),
    [(1, 0), (55, 0), (111.9, 0), (112.1, 1), (223.9, 1), (224, 2), (447.9, 2), (448.1, 3), (4e3, 3)],
)
def test_the_map_of_a_box_goes_by_the_root_of_its_area(side: float, level: int) -> None:
    boxes = torch.tensor([[5.0, 7, 5 + side * 2, 7 + side / 2]])
    assert map_of(boxes, [4, 8, 16, 32]).tolist() == [level]
    assert map_of(boxes, [8, 16]).tolist() == [min(max(level - 1, 0), 1)]


@pytest.mark.usefixtures("float64")
def test_a_region_is_the_mean_of_a_plane_at_its_place() -> None:
    """A map that is linear in x and y is pooled to its value at the centre of each cell, on the map that fits."""
    maps = []
    for stride in (4, 8):
        y, x = torch.meshgrid(*[torch.arange(512 // stride) * stride + stride / 2] * 2, indexing="ij")
        maps.append(torch.stack([torch.stack([x, y, torch.full_like(x, stride)])] * 2).float())
    boxes = [torch.tensor([[40.0, 60, 96, 130.5]]), torch.tensor([[100.0, 120, 350, 290], [33.3, 44.4, 61.3, 79.4]])]
    pooled = pool_regions(maps, [4, 8], boxes, 7)
    assert pooled.shape == (3, 3, 7, 7)
    for region, (x0, y0, x1, y1), stride in zip(pooled, torch.cat(boxes), (4, 8, 4), strict=True):
        centre = (torch.arange(7) + 0.5) / 7
        assert_fp32(region[0], (x0 + (x1 - x0) * centre).expand(7, 7))
        assert_fp32(region[1], (y0 + (y1 - y0) * centre)[:, None].expand(7, 7))
        assert_fp32(region[2], torch.full((7, 7), float(stride)))


def test_half_precision_maps_are_pooled_at_exact_places() -> None:
    image = torch.randn(1, 4, 64, 64).bfloat16()
    boxes = [torch.tensor([[100.3, 90.7, 180.9, 201.1]])]
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool_regions([image], [4], boxes, 7)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled, pool_regions([image.float()], [4], boxes, 7).bfloat16(), rtol=0, atol=0)
    nothing = pool_regions([image.float().requires_grad_()], [4], [NONE], 7)
    assert nothing.shape == (0, 4, 7, 7)
    assert nothing.requires_grad


@pytest.mark.usefixtures("float64")
def test_normalisation_is_that_of_the_channels_of_each_pixel() -> None:
    norm, maps = ChannelNorm(6), torch.randn(2, 6, 3, 4) * 3 + 1
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    mean, variance = maps.mean(1, keepdim=True), maps.var(1, correction=0, keepdim=True)
    expected = (maps - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    assert_float64(norm(maps), expected)


@pytest.mark.parametrize("box", [(3.0, 4.0, 60.0, 55.0), (7.5, 9.25, 33.1, 80.9), (40, 41, 40.1, 90), (-9, 1, 70, 30)])
def test_polygons_are_rasterised_by_cocos_rule_inside_the_box(box: tuple[float, ...]) -> None:
    parts = (np.array([2.0, 3, 61, 5, 44.5, 57, 5, 50]), np.array([30.0, 60, 70, 70, 20, 79]), np.array([1.0, 2, 3, 4]))
    width, height = max(box[2] - box[0], 0.1), max(box[3] - box[1], 0.1)
    moved = [[(v - box[i % 2]) * 28 / (width, height)[i % 2] for i, v in enumerate(part)] for part in parts[:2]]
    expected = coco.decode(coco.merge(coco.frPyObjects(moved, 28, 28))).astype(bool)
    targets = mask_targets([InstanceMask(parts, None)], torch.tensor([0]), torch.tensor([box]), 28)
    assert targets.dtype == torch.bool
    assert (targets[0].numpy() != expected).mean() <= 0.003  # this box is in float64, theirs in float32


def test_bitmaps_hold_where_they_cover_half_a_cell() -> None:
    bitmaps = np.zeros((2, 64, 64), dtype=bool)
    bitmaps[0, 10:38, 10:24] = True
    bitmaps[1, :, 32:] = True
    polygon = np.array([10.0, 10, 24, 10, 24, 38, 10, 38])
    masks = [InstanceMask((), bitmaps[0]), InstanceMask((polygon,), None), InstanceMask((), bitmaps[1])]
    boxes = torch.tensor([[10.0, 10, 38, 38], [10, 10, 38, 38], [4, 4, 60, 60], [10, 10, 38, 38]])
    targets = mask_targets(masks, torch.tensor([0, 1, 2, 0]), boxes, 28)
    left = torch.arange(28).expand(28, 28) < 14
    for row, expected in ((0, left), (1, left), (2, ~left), (3, left)):
        assert torch.equal(targets[row], expected), row
    thirds = np.zeros((2, 96, 96), dtype=bool)  # 3 pixels a cell: a third of cell 14, and two thirds of it
    thirds[0, :, :47] = thirds[1, :, :48] = True
    box = torch.tensor([[4.0, 4, 88, 88]]).expand(2, 4)
    targets = mask_targets([InstanceMask((), bitmap) for bitmap in thirds], torch.tensor([0, 1]), box, 28)
    assert targets.sum(2).tolist() == [[14] * 28, [15] * 28]
    assert mask_targets(masks, NO_LABELS, NONE, 28).shape == (0, 28, 28)
    no_part = mask_targets([InstanceMask((), None)], torch.tensor([0]), boxes[:1], 28)
    assert not no_part.any()


@pytest.mark.parametrize("at_once", [None, 2])
def test_a_pasted_mask_is_bilinear_between_the_centres_of_its_cells(at_once: int | None) -> None:
    """Pixel by pixel in float64, away from 0.5 itself; boxes partly outside and smaller than a pixel, too."""
    size = HeightWidth(40, 50)
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(5, 28, 28, generator=generator)
    edges = [[3.2, 4.1, 30.7, 22.9], [0, 0, 50, 40], [-8, -3, 20, 60], [10.1, 10.2, 10.6, 30], [0, 35, 9, 40]]
    boxes = torch.tensor(edges)
    pasted = paste_masks(masks, boxes, size, at_once=at_once)
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    for mask, (x0, y0, x1, y1), got in zip(padded, boxes.tolist(), pasted, strict=True):
        y, x = ((np.arange(n) + 0.5 - a) / (b - a) * 28 + 0.5 for n, a, b in ((40, y0, y1), (50, x0, x1)))
        rows, columns = (_hat(at, 30) for at in (y, x))
        values = rows @ mask.astype(np.float64) @ columns.T
        sure = np.abs(values - 0.5) > 1e-5
        assert np.array_equal(got.numpy()[sure], values[sure] >= 0.5)
    assert pasted[:3].any(2).any(1).all()


def _hat(at: np.ndarray, count: int) -> np.ndarray:
    """Weights [len(at), count] of linear interpolation between whole numbers, nothing beyond the first and last."""
    return np.asarray(np.clip(1 - np.abs(at[:, None] - np.arange(count)), 0, None))


def test_proposal_losses_are_divided_by_the_number_to_draw() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [50, 50, 70, 80], [90, 90, 99, 99]])
    logits, deltas = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]]), torch.ones(2, 3, 4) * 0.25
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    true = [torch.tensor([[0.0, 0, 10, 10]]), NONE]
    cls, loc = proposal_losses(anchors, logits, deltas, true, iou=(0.3, 0.7), count=8, positive=0.5, coder=coder)
    softplus = [math.log1p(math.exp(v)) for v in (-1.0, -2.0, 0.5, 3.0, 0.0, 1.0)]
    assert cls.item() == pytest.approx(sum(softplus) / 16)
    assert loc.item() == pytest.approx(4 * 0.25 / 16)


@pytest.mark.usefixtures("float64")
def test_region_losses_count_all_regions_and_the_objects_own_class() -> None:
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    true = torch.tensor([[0.0, 0, 10, 10]])
    regions = [
        Regions(torch.tensor([[1.0, 0, 11, 10], [50, 50, 60, 60]]), torch.tensor([1, 2]), torch.tensor([0, 0])),
        Regions(torch.tensor([[5.0, 5, 9, 9]]), torch.tensor([2]), torch.tensor([0])),
    ]
    logits = torch.tensor([[0.0, 1, 2], [3, 4, 5], [6, 7, 9]])
    deltas = torch.arange(24.0).view(3, 8) / 10
    cls, box = region_losses(logits, deltas, regions, [true, NONE], coder)
    expected = -logits.double().log_softmax(1)[[0, 1, 2], [1, 2, 2]].mean()
    assert_fp32(cls, expected)
    goal = torch.tensor([-10 * 0.1, 0, 0, 0])  # one of ten pixels to the left, times 10
    assert box.item() == pytest.approx(((deltas[0, 4:] - goal).abs().sum() / 3).item())
    none = Regions(NONE, NO_LABELS, NO_LABELS)
    assert [v.item() for v in region_losses(logits[:0], deltas[:0], [none], [NONE], coder)] == [0, 0]


@pytest.mark.usefixtures("float64")
def test_the_mask_loss_sees_the_objects_own_class_only() -> None:
    logits = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels, targets = torch.tensor([2, 0, 3]), torch.rand(3, 6, 6) < 0.5
    own = torch.stack([logits[0, 2], logits[1, 0], logits[2, 3]]).double()
    expected = torch.where(targets, -own.sigmoid().log(), -(1 - own.sigmoid()).log()).mean()
    assert_fp32(mask_loss(logits, labels, targets), expected)
    assert mask_loss(logits[:0], NO_LABELS, targets[:0]).item() == 0


def test_boxes_are_clipped_before_the_empty_ones_are_told() -> None:
    boxes = torch.tensor([[-5.0, -5, 20, 8], [30, 2, 40, 6], [3, 3, 3, 9], [1, 1, 2, 2]])
    inside = clipped(boxes, HeightWidth(6, 25))
    assert inside.tolist() == [[0, 0, 20, 6], [25, 2, 25, 6], [3, 3, 3, 6], [1, 1, 2, 2]]
    assert not_empty(inside).tolist() == [True, False, False, True]
