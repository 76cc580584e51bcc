"""A detector with outputs of fixed shapes finds what the trained one finds, and outputs are compared by objects."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maekit.base.exportable import Outputs
from maekit.detection.exportable import whole
from maekit.detection.graph.outputs import compare_objects, detections_of
from maekit.detection.graph.pooling import pool_fixed
from maekit.detection.graph.suppression import kept_scores
from maekit.detection.mask_rcnn.pooling import pool_regions
from maekit.detection.onnx_predictor import predictor_of
from maekit.errors import UserError
from maekit.export.graph.metadata import describe, require_same
from maekit.system.size import HeightWidth
from tests.detection.helpers_graph import INPUT, KINDS, SIDE, detector, exportable, pictures

pytestmark = pytest.mark.numeric


def outputs_of(kind: str, images: Tensor, sizes: Tensor, **more: Any) -> dict[str, Tensor]:
    found = exportable(kind, **more)
    with torch.inference_mode():
        given = found.module(images, sizes)
    assert type(given) is tuple  # torch.export writes no named one into a file
    return dict(zip(found.outputs, given, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3])
def test_it_finds_the_objects_of_the_trained_detector(kind: str, count: int) -> None:
    """Pictures that do not fill the square are clipped to their own size, in whatever place of the batch they are."""
    images, sizes = pictures(count, seed=count)
    model = detector(kind)
    outputs = outputs_of(kind, images, sizes)
    expected = model.detect(images, sizes, sizes)
    assert outputs["count"].tolist() == [len(one.boxes) for one in expected] and min(outputs["count"]) > 5
    for image, one in enumerate(expected):
        number = len(one.boxes)
        assert torch.equal(outputs["labels"][image, :number], one.labels)
        torch.testing.assert_close(outputs["boxes"][image, :number], one.boxes, rtol=0, atol=1e-3)  # pixels, fp32
        torch.testing.assert_close(outputs["scores"][image, :number], one.scores, rtol=0, atol=1e-5)
        if one.masks is not None:
            torch.testing.assert_close(outputs["masks"][image, :number], one.masks, rtol=0, atol=1e-4)
        assert all(not outputs[name][image, number:].any() for name in outputs if name != "count")
    assert ("masks" in outputs) is model.spec.masks


def test_shapes_do_not_depend_on_what_is_found() -> None:
    images, sizes = pictures(2)
    some, none = outputs_of("mask", images, sizes), outputs_of("mask", images, sizes, min_score=0.999)
    assert {name: values.shape for name, values in some.items()} == {
        name: values.shape for name, values in none.items()
    }
    assert none["count"].tolist() == [0, 0] and not any(values.any() for values in none.values())


def test_regions_are_pooled_as_by_lists_and_absent_ones_are_zeros() -> None:
    generator = torch.Generator().manual_seed(0)
    strides = (4, 8, 16, 32)
    maps = [torch.randn(2, 3, 512 // stride, 512 // stride, generator=generator) for stride in strides]
    corner, extent = torch.rand(2, 9, 2, generator=generator) * 200, torch.rand(2, 9, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + extent**2 / 300], -1)  # of all sizes, so that each map is one's own
    found = torch.ones(2, 9, dtype=torch.bool)
    found[1, 4:] = False
    pooled = pool_fixed(maps, strides, boxes, found, 7).view(2, 9, 3, 7, 7)
    expected = pool_regions(maps, strides, list(boxes), 7).view(2, 9, 3, 7, 7)
    torch.testing.assert_close(pooled[found], expected[found], rtol=0, atol=1e-5)
    assert not pooled[~found].any() and bool(expected[~found].any())


def test_boxes_of_two_cells_never_meet_and_others_do_not_take_part() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    cells = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 0], [0, 0]])
    left = kept_scores(boxes, scores, torch.tensor([0, 1, 2, 3]), cells, 0.5, 10)
    assert torch.equal(left.isfinite(), torch.tensor([True, False, True, True, False]))
    assert torch.equal(left[left.isfinite()], scores[[0, 2, 3]])
    assert not kept_scores(boxes, scores, torch.zeros(0, dtype=torch.int64), cells, 0.5, 10).isfinite().any()


def test_outputs_become_detections_in_the_files_pixels() -> None:
    images, sizes = pictures(3, seed=5)
    originals = torch.tensor([[97, 120], [640, 333], [31, 64]])
    found = detections_of(outputs_of("mask", images, sizes), sizes, originals)
    for one, expected in zip(found, detector("mask").detect(images, sizes, originals), strict=True):
        for ours, theirs in zip(one, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)


class OfTheModel:
    """Stands for a file: the module itself behind the protocol."""

    def __init__(self, kind: str) -> None:
        self.exportable = exportable(kind)
        self.path, self.metadata = Path("model.onnx"), dict(self.exportable.metadata)

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            return dict(zip(self.exportable.outputs, self.exportable.module(*inputs), strict=True))


@pytest.mark.parametrize("kind", ["mask", "boxes"])
@pytest.mark.parametrize("size", [(40, 90), (64, 64), (200, 120)])
def test_a_files_predictor_gives_what_the_runs_gives(kind: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours, theirs = predictor_of(OfTheModel(kind)), detector(kind).shown().predictor(INPUT)
    (one,), (other,) = (
        list(each.predict([each.prepare(Image.fromarray(pixels))], torch.device("cpu"))) for each in (ours, theirs)
    )
    assert one.size == other.size == HeightWidth(*size)
    assert len(one.objects.boxes) == len(other.objects.boxes) > 0
    np.testing.assert_allclose(one.objects.boxes, other.objects.boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(one.objects.labels, other.objects.labels)
    assert (one.objects.rles is None) == (other.objects.rles is None) == (kind == "boxes")


def plain(outputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: values.numpy().copy() for name, values in outputs.items()}


def changed(outputs: Outputs, **changes: np.ndarray) -> Outputs:
    return {**outputs, **changes}


def test_objects_are_compared_in_whatever_order_they_come() -> None:
    ours = plain(outputs_of("mask", *pictures(4)))
    total = int(ours["count"].sum())
    same = compare_objects(ours, ours)
    assert (same.equal, same.count) == (total, total) and set(same.differences.values()) == {0.0}
    swapped = {name: values.copy() for name, values in ours.items()}
    for name in ("boxes", "scores", "labels", "masks"):
        swapped[name][:, [0, 1]] = swapped[name][:, [1, 0]]
    assert compare_objects(ours, swapped) == same
    moved = changed(ours, scores=ours["scores"] + 0.25)
    assert compare_objects(ours, moved).differences == {"boxes": 0.0, "scores": pytest.approx(0.25), "masks": 0.0}
    larger = changed(ours, boxes=ours["boxes"] * np.float32(1.0001))
    assert compare_objects(ours, larger).differences["boxes"] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize(
    ("lost", "excused"), [(1, True), (8, False)], ids=["one at a threshold", "more than one in a hundred"]
)
def test_few_objects_may_be_found_by_one_alone(lost: int, excused: bool) -> None:
    ours = plain(outputs_of("boxes", *pictures(4)))
    fewer = ours["count"].copy()
    fewer[0] -= lost
    found = compare_objects(ours, changed(ours, count=fewer))
    assert found.count - found.equal == lost
    assert set(found.differences.values()) == ({0.0} if excused else {float("inf")})


@pytest.mark.parametrize("wrong", ["labels", "boxes", "nan", "shape"])
def test_other_objects_are_no_match(wrong: str) -> None:
    ours = plain(outputs_of("boxes", *pictures(2)))
    others = {
        "labels": changed(ours, labels=(ours["labels"] + 1) % 5),
        "boxes": changed(ours, boxes=ours["boxes"] + 9),
        "nan": changed(ours, boxes=ours["boxes"] * np.nan),
        "shape": changed(ours, scores=ours["scores"][:, :1]),
    }[wrong]
    assert compare_objects(ours, others).differences["boxes"] == float("inf")


def test_what_goes_with_images_follows_from_them() -> None:
    assert torch.equal(whole(torch.zeros(2, 3, SIDE, SIDE))[0], torch.full((2, 2), SIDE))
    (prepared, size) = exportable("mask").prepare(Image.new("RGB", (100, 50)))
    assert prepared.shape == (3, SIDE, SIDE) and size.tolist() == [SIDE // 2, SIDE]


def test_a_file_of_another_detector_is_refused() -> None:
    origin: dict[str, object] = {"kind": "predictions", "task": "coco_maskrcnn"}
    mask, boxes = (describe(exportable(kind), origin=origin) for kind in ("mask", "boxes"))
    require_same(mask, mask, "model.onnx")
    with pytest.raises(UserError, match="is of another model: its outputs"):
        require_same(boxes, mask, "model.onnx")


def test_detectron2s_modules_are_exported_through_maekits_with_their_weights() -> None:
    """They have the same names of weights; here a module with nothing but these stands for detectron2's."""
    net = copy.deepcopy(detector("cascade"))
    own = net.head.detector
    net.head.detector = torch.nn.ModuleDict({name: getattr(own, name) for name in ("proposal_generator", "roi_heads")})
    found, images = net.exportable(INPUT), pictures(2)
    with torch.inference_mode():
        outputs = dict(zip(found.outputs, found.module(*images), strict=True))
    expected = outputs_of("cascade", *images)
    assert all(torch.equal(outputs[name], expected[name]) for name in expected) and found.module.detector is not own
