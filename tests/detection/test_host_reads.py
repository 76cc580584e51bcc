"""What Mask R-CNN waits for on an accelerator, and that it gives there what it gives on a CPU."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import _utils as peer
from torchvision.ops import batched_nms, box_iou

from maekit.detection.data.batch import DetBatch, InstanceMask
from maekit.detection.host import to_host as copied_to_host
from maekit.detection.mask_rcnn import losses as losses_module
from maekit.detection.mask_rcnn import matching, proposals, select
from maekit.detection.mask_rcnn.boxes import BoxCoder
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.detection.mask_rcnn.matching import draw, draw_regions, first_places, match, shuffled_draw
from maekit.detection.mask_rcnn.suppression import AT_ONCE, suppress_together
from maekit.detection.metrics.coco_masks import coco_results
from maekit.system.size import HeightWidth
from tests.detection.golden import detection_case as case
from tests.stand_in import stand_in, to_device, to_host

FEW: dict[str, Any] = {"rpn_batch": 64, "roi_batch": 32, "rpn_pre_nms": [200, 100], "rpn_post_nms": [60, 50]}
STEP = {"nonzero": 1, "to_cpu": 1}
DETECT = {"nonzero": 3, "to_cpu": 2}


def _model(num_maps: int = 5, *, masks: bool = True, **changes: Any) -> MaskRCNN:
    sizes = case.PUBLISHED["anchor_sizes"][:num_maps]
    settings = case.settings(case.NARROW, FEW, {"anchor_sizes": sizes, "max_detections": 12}, changes)
    model = MaskRCNN(case.CHANNELS, case.CLASSES, settings, strides=case.STRIDES[:num_maps], masks=masks)
    case.fill(model)
    return model.train()


def _batch(images: int) -> DetBatch:
    """The case's two images by turns."""
    batch, turns = case.batch(), [number % 2 for number in range(images)]
    boxes, labels = ([part[turn] for turn in turns] for part in (batch.boxes, batch.labels))
    masks = [batch.masks[turn] for turn in turns]
    return DetBatch(batch.image[turns], batch.size[turns], boxes, labels, masks, torch.arange(images))


def _maps(images: int, num_maps: int = 5) -> list[Tensor]:
    turns = [number % 2 for number in range(images)]
    return [image.detach()[turns] for image in case.maps()[:num_maps]]


def _step(model: MaskRCNN, maps: list[Tensor], batch: DetBatch) -> dict[str, Tensor]:
    """Losses, and the gradient of each parameter and map."""
    maps = [image.detach().requires_grad_() for image in maps]
    torch.manual_seed(3)
    losses = model.losses(maps, batch)
    named = dict(model.named_parameters()) | {f"map {number}": image for number, image in enumerate(maps)}
    gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), list(named.values()))
    return {name: loss.detach() for name, loss in losses.items()} | dict(zip(named, gradients, strict=True))


def _assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], within: float = 1e-5) -> None:
    """Up to sums of another order: relative, of L2."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        distance, size = (part.double().norm().item() for part in (found[name] - value, value))
        assert distance <= within * max(size, 1e-4), f"{name}: {distance:.3g} of {size:.3g}"


# on the stand-in for an accelerator


@pytest.mark.parametrize("images", [1, 2, 4])
@pytest.mark.parametrize("num_maps", [3, 5])
def test_the_host_waits_for_a_step_twice_and_for_detections_five_times(images: int, num_maps: int) -> None:
    model, maps, batch = _model(num_maps), _maps(images, num_maps), _batch(images)
    with stand_in(lines=True) as waits:
        model, maps, batch = to_device(model), to_device(maps), to_device(batch)
        _step(model, maps, batch)
        assert waits.counts == STEP, waits.lines
        waits.reset()
        found = model.eval().detect(maps, batch.size, batch.size)
        assert waits.counts == DETECT, waits.lines
        assert len(found) == images
        for image in found:
            devices = [part.device.type for part in image if part is not None]
            assert devices == ["cpu", "cpu", "cpu", maps[0].device.type]
            waits.reset()
            assert len(coco_results(image, HeightWidth(250, 200)).rles or ()) == 12
            assert waits.counts == {"to_cpu": 1}  # of the pasted masks


@pytest.mark.parametrize("images", [1, 4])
def test_each_further_stage_of_a_cascade_waits_once(images: int) -> None:
    """For the boxes of the stage before. Without masks it waits as often, but none of them are pasted."""
    for changes, masks, stages in ((case.CASCADE, True, 2), (case.CASCADE, False, 2), ({}, False, 0)):
        model, maps, batch = _model(**changes, masks=masks), _maps(images), _batch(images)
        with stand_in(lines=True) as waits:
            model, maps, batch = to_device(model), to_device(maps), to_device(batch)
            _step(model, maps, batch)
            assert waits.counts == STEP | {"to_cpu": 1 + stages}, waits.lines
            waits.reset()
            found = model.eval().detect(maps, batch.size, batch.size)
            assert waits.counts == DETECT | {"to_cpu": 2 + stages}, waits.lines
            waits.reset()
            assert all((coco_results(image, HeightWidth(250, 200)).rles is None) != masks for image in found)
            assert waits.counts == ({"to_cpu": images} if masks else {})


CHANGES = [{}, case.EXHAUSTIVE, case.EXHAUSTIVE | {"norm": "BN"}, case.EXHAUSTIVE | case.CASCADE]


@pytest.mark.parametrize("changes", CHANGES)
def test_a_step_on_an_accelerator_equals_one_on_a_cpu(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the draws are the same, or all is drawn: each loss and gradient, in float64 throughout."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    monkeypatch.setattr(losses_module, "draw", shuffled_draw)
    monkeypatch.setattr(matching, "draw", shuffled_draw)
    model, maps, batch = _model(**changes).double(), [image.double() for image in _maps(2)], _batch(2)
    expected = _step(model, maps, batch)
    assert expected["mask"] > 0
    with stand_in():
        found = to_host(_step(*to_device((model, maps, batch))))
    assert all(value.dtype == torch.float64 for value in found.values())
    _assert_close(found, expected, 1e-12)


def test_detections_on_an_accelerator_equal_those_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model, maps, (size, original) = _model().eval(), _maps(2), case.sizes()
    expected: list[Any] = [found._asdict() for found in model.detect(maps, size, original)]
    assert all(len(found["boxes"]) == 12 for found in expected)
    with stand_in() as waits:
        moved = to_device((model, maps, size, original))
        for at_once in (AT_ONCE, 0):  # together, or, of very many, image by image
            monkeypatch.setattr(select, "AT_ONCE", at_once)
            waits.reset()
            for found, one in zip(to_host(moved[0].detect(*moved[1:])), expected, strict=True):
                _assert_close(found._asdict(), one)
            assert (waits.counts == DETECT) == (at_once > 0)


def _objects(boxes: list[list[float]]) -> DetBatch:
    """The case's images with these objects in the first, all of them squares of the same polygon."""
    mask = InstanceMask((case.batch().masks[0][1].polygons[0],), None)
    empty = case.empty_batch()
    labels = [torch.arange(len(boxes)) % case.CLASSES, empty.labels[1]]
    boxed = [torch.tensor(boxes).reshape(-1, 4), empty.boxes[1]]
    return empty._replace(boxes=boxed, labels=labels, masks=[[mask] * len(boxes), []])


WHOLE = [50.0, 60, 70.25, 90]
CASES: dict[str, Callable[[], DetBatch]] = {
    "no objects": lambda: _objects([]),
    "one object": lambda: _objects([WHOLE]),
    "an empty box": lambda: _objects([[7.0, 7, 7, 90]]),
    "an inverted box beside a whole one": lambda: _objects([[90.0, 70, 7, 9], WHOLE]),
    "more objects than are drawn": lambda: _objects([[x, x, x + 21, x + 30.0] for x in range(2, 162, 2)]),
    "no place for proposals": lambda: case.empty_batch()._replace(size=torch.tensor([[0, 256], [0, 256]])),
    "no place for one image's": lambda: _objects([WHOLE])._replace(size=torch.tensor([[256, 200], [0, 256]])),
}


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("changes", [{}, {"roi_positive": 0.0, "rpn_positive": 0.0}])
def test_every_parameter_has_a_finite_gradient_whatever_the_objects(name: str, changes: dict[str, Any]) -> None:
    """And what depends on no draw, because all is drawn, is the same on both devices."""
    batch, maps = CASES[name](), _maps(2)
    every = changes or {"rpn_batch": 2**15, "roi_batch": 2**10, "roi_positive": 1.0, "rpn_positive": 1.0}
    for settings in (changes, every):
        model = _model(**settings)
        cpu = _step(model, maps, batch)
        with stand_in() as waits:
            found = _step(*to_device((model, maps, batch)))
            assert waits.counts == STEP
            found = to_host(found)
        for step in (cpu, found):
            assert all(value.isfinite().all() for value in step.values())
    if not changes:
        _assert_close(found, cpu)


def test_images_beyond_what_is_suppressed_at_once_are_suppressed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model, maps, size = _model(), _maps(4), _batch(4).size
    expected = model.proposal_generator.best(model.proposal_generator(maps), size, training=True)
    with stand_in() as waits:
        generator, moved, sizes = to_device((model.proposal_generator, maps, size))
        predictions = generator(moved)
        for at_once, calls in ((AT_ONCE, 1), (2 * 852, 2), (900, 4)):  # candidates of an image: 852
            monkeypatch.setattr(proposals, "AT_ONCE", at_once)
            waits.reset()
            best = generator.best(predictions, sizes, training=True)
            assert waits.counts == {"nonzero": calls}
            for one, other in zip(to_host(best), expected, strict=True):
                for part, value in zip(one, other, strict=True):
                    torch.testing.assert_close(part, value, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_waited_for_as_often() -> None:
    """As CUDA itself counts; the first step, in which libraries are loaded, is left out."""
    model, maps, batch = _model().cuda(), [image.cuda() for image in _maps(2)], _batch(2)
    boxes, labels = ([part.cuda() for part in parts] for parts in (batch.boxes, batch.labels))
    batch = batch._replace(size=batch.size.cuda(), boxes=boxes, labels=labels)
    _step(model, maps, batch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            _step(model, maps, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert sum("synchronizing" in str(one.message) for one in caught) == sum(STEP.values())


# the parts


def _kinds(objects: int, background: int, neither: int) -> Tensor:
    kind = torch.tensor([1] * objects + [0] * background + [-1] * neither)
    return kind[torch.randperm(len(kind), generator=torch.Generator().manual_seed(objects))]


@pytest.mark.parametrize(
    "numbers", [(40, 300, 60), (3, 300, 5), (200, 7, 0), (0, 50, 9), (5, 0, 3), (0, 0, 4), (0, 0, 0)]
)
@pytest.mark.parametrize(("count", "positive"), [(64, 0.25), (64, 0.0), (33, 0.5), (400, 1.0)])
def test_shuffled_draws_have_the_numbers_of_torchvisions(
    numbers: tuple[int, int, int], count: int, positive: float
) -> None:
    kind = _kinds(*numbers)
    for found, theirs, value in zip(
        shuffled_draw(kind, count, positive), draw(kind, count, positive), (1, 0), strict=True
    ):
        assert found.sum() == theirs.sum()
        assert (kind[found] == value).all()


def test_shuffled_draws_take_every_candidate_equally_often() -> None:
    """Each, and each pair of neighbours, within 5 deviations of what equal chances give."""
    kind, rounds = _kinds(20, 30, 10), 4000
    torch.manual_seed(0)
    drawn = torch.stack([torch.stack(shuffled_draw(kind, 24, 0.25)) for _ in range(rounds)]).double()
    for found, value, taken in ((drawn[:, 0], 1, 6), (drawn[:, 1], 0, 18)):
        candidates = found[:, kind == value]
        number = candidates.shape[1]
        pairs = candidates * candidates.roll(1, 1)
        for counts, chance in (
            (candidates.sum(0), taken / number),
            (pairs.sum(0), taken * (taken - 1) / (number * (number - 1))),
        ):
            deviation = (rounds * chance * (1 - chance)) ** 0.5
            assert (counts - rounds * chance).abs().max() < 5 * deviation
    assert not drawn[..., kind == -1].any()


def test_places_are_those_of_nonzero_in_a_fixed_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    for length, limit in ((50, 50), (50, 20), (7, 20), (0, 4), (30, 0)):
        mask = torch.rand(length, generator=generator) < 0.3
        expected = mask.nonzero()[:, 0][:limit]
        rows, used = first_places(mask, limit)
        assert len(rows) == len(used) == min(limit, length)
        assert torch.equal(rows[used], expected)
        assert not rows[~used].any()


def _boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 90
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 60], 1)


@pytest.mark.parametrize("force", [False, True])
def test_matches_are_torchvisions_and_empty_boxes_are_no_objects(force: bool) -> None:
    boxes, true = _boxes(400, 0), _boxes(9, 1)
    true[5] = true[2]  # two objects in one place
    matcher = peer.Matcher(0.7, 0.3, allow_low_quality_matches=force)
    theirs = matcher(box_iou(true, boxes))
    kind, objects = match(boxes, true, 0.3, 0.7, force=force)
    assert torch.equal(kind, torch.where(theirs >= 0, 1, torch.where(theirs == matcher.BELOW_LOW_THRESHOLD, 0, -1)))
    assert torch.equal(objects, theirs.clamp(min=0))
    more = torch.cat([true, torch.tensor([[3.0, 3, 3, 9], [9, 9, 5, 5], [0, 0, 0, 0]])])
    for one, other in zip(match(boxes, more, 0.3, 0.7, force=force), (kind, objects), strict=True):
        assert torch.equal(one, other)
    for low, high in ((0.0, 0.0), (0.3, 0.7)):  # nothing but empty boxes
        assert not torch.cat(match(boxes, more[9:], low, high, force=force)).any()


def test_one_suppression_of_all_groups_is_each_groups_own() -> None:
    boxes, scores = _boxes(900, 2), torch.rand(900, generator=torch.Generator().manual_seed(3))
    groups = torch.arange(900) % 23
    boxes[::50], scores[::50] = 0.0, -torch.inf
    expected = torch.cat([at[batched_nms(boxes[at], scores[at], groups[at], 0.3)] for at in _rows_of(groups, 23)])
    expected = expected[scores[expected].argsort(descending=True)]
    kept = suppress_together(boxes, scores, groups, 23, 0.3)
    finite = scores[kept].isfinite()
    assert torch.equal(kept[finite], expected[scores[expected].isfinite()])
    assert 300 < len(kept) < 850
    assert len(suppress_together(boxes[:0], scores[:0], groups[:0], 23, 0.3)) == 0


def _rows_of(groups: Tensor, count: int) -> list[Tensor]:
    return [(groups == number).nonzero()[:, 0] for number in range(count)]


def test_offsets_are_torchvisions_bit_for_bit() -> None:
    boxes, goals = _boxes(200, 4), _boxes(200, 5)
    deltas = torch.randn(200, 4, generator=torch.Generator().manual_seed(6)) * 5
    for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (3.0, 0.7, 2.0, 1.3)):
        ours, theirs = BoxCoder(weights), peer.BoxCoder(weights)
        assert torch.equal(ours.encode(goals, boxes), theirs.encode_single(goals, boxes))
        assert torch.equal(ours.decode(deltas, boxes), theirs.decode_single(deltas, boxes))
        assert torch.equal(
            ours.decode(deltas.view(4, 50, 4), boxes.view(4, 50, 4)).view(-1, 4), ours.decode(deltas, boxes)
        )


def test_one_copy_brings_tensors_of_all_types_and_sizes_exactly() -> None:
    given = [
        torch.tensor([[2**53 + 1, -7]]), torch.tensor(1 / 3, dtype=torch.float64), torch.rand(3, 5)[:, ::2],
        torch.arange(9)[::3], torch.zeros(0, 4), torch.tensor([True, False, True]), torch.rand(7).bfloat16(),
        torch.tensor([1e-45]),
    ]  # fmt: skip
    with stand_in() as waits:
        moved = [*map(to_device, given[:-1]), given[-1]]
        found = copied_to_host(moved)
        assert waits.counts == {"to_cpu": 1}
    assert copied_to_host([]) == []
    for one, other in zip(found, given, strict=True):
        assert (one.dtype, one.shape, one.device.type) == (other.dtype, other.shape, "cpu")
        assert torch.equal(one, other)


def test_regions_of_an_accelerator_are_of_one_number_and_say_which_are_none() -> None:
    true, labels = torch.tensor([[0.0, 0, 10, 10], [4, 4, 4, 4]]), torch.tensor([3, 1])
    proposals_ = torch.tensor([[80.0, 80, 90, 90], [0, 0, 10, 8], [0, 0, 0, 0]])
    with stand_in():
        moved = to_device([proposals_, true, labels])
        found = draw_regions(*moved, num_classes=5, iou=0.5, count=100, positive=0.5)
        regions = to_host(found)
    assert {len(part) for part in regions} == {10}  # 5 boxes, as objects and as background
    drawn = regions.labels >= 0
    assert regions.labels[drawn].tolist() == [3, 3, 5]
    assert regions.boxes[drawn].tolist() == [[0, 0, 10, 8], [0, 0, 10, 10], [80, 80, 90, 90]]
