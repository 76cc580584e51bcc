"""Mask R-CNN against what detectron2 gave (tests/golden), and its behaviour where detectron2 has no say."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch import Tensor, nn

from maekit.detection.data.batch import InstanceMask
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.detection.mask_rcnn.mask_targets import mask_targets
from maekit.detection.mask_rcnn.paste import paste_masks
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from tests.detection.golden import detection_case as case
from tests.detection.helpers import LOSSES, NORMS
from tests.detection.helpers_golden import assert_equal_up_to_rounding, doubled, model_of, moved_maps, outcome
from tests.numeric import MARGIN, SEEDS, assert_fp32, fp32_errors

pytestmark = pytest.mark.numeric
DTYPES = [torch.float32, torch.float32, torch.int64, torch.float32]  # boxes, scores, labels, masks


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).parent / "golden" / "detectron2_arrays.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("norm", NORMS)
def test_proposals_equal_detectron2s(norm: str, golden: dict[str, Any]) -> None:
    def proposals(model: MaskRCNN, maps: list[Tensor]) -> list[dict[str, Tensor]]:
        predictions = model.proposal_generator(maps)
        found = model.proposal_generator.best(predictions, case.sizes()[0], training=False)
        return [{"boxes": boxes, "scores": logits} for boxes, logits in found]

    model = model_of(norm).eval()
    double = proposals(doubled(norm)[0].eval(), doubled(norm)[1])
    singles = [proposals(model, moved_maps(seed)) for seed in SEEDS]
    for number, found in enumerate(proposals(model, case.maps())):
        recorded = {
            "boxes": torch.from_numpy(golden[f"{norm}_{number}_proposals"]),
            "scores": torch.from_numpy(golden[f"{norm}_{number}_objectness"]),
        }
        assert_equal_up_to_rounding(recorded, double[number], [single[number] for single in singles])
        assert (found["scores"].diff() <= 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_detections_equal_detectron2s(norm: str, golden: dict[str, Any]) -> None:
    def detections(model: MaskRCNN, maps: list[Tensor]) -> list[dict[str, Tensor]]:
        return [found._asdict() for found in model.detect(maps, *case.sizes())]

    model = model_of(norm).eval()
    double = detections(doubled(norm)[0].eval(), doubled(norm)[1])
    singles = [detections(model, moved_maps(seed)) for seed in SEEDS]
    for number, found in enumerate(detections(model, case.maps())):
        names = ("boxes", "scores", "labels", "masks")
        recorded = {name: torch.from_numpy(golden[f"{norm}_{number}_{name}"]) for name in names}
        assert_equal_up_to_rounding(recorded, double[number], [single[number] for single in singles])
        assert [value.dtype for value in found.values()] == DTYPES


@pytest.mark.parametrize("name", ["LN_0", "LN_1", "BN_0", "BN_1"])
def test_pasted_masks_equal_detectron2s_bit_for_bit(name: str, golden: dict[str, Any]) -> None:
    masks, boxes = (torch.from_numpy(golden[f"{name}_{part}"]).float() for part in ("masks", "boxes"))
    height, width = case.sizes()[1][int(name[-1])].tolist()
    pasted = paste_masks(masks, boxes, HeightWidth(height, width))
    expected = np.unpackbits(golden[f"{name}_pasted"])[: pasted.numel()].reshape(pasted.shape)
    assert pasted.dtype == torch.bool
    assert pasted.any(2).any(1).sum() >= 10
    assert np.array_equal(pasted.numpy(), expected)


def test_mask_targets_equal_detectron2s(golden: dict[str, Any]) -> None:
    boxes, objects = (torch.from_numpy(golden[f"target_{name}"]) for name in ("boxes", "objects"))
    targets = mask_targets(case.batch().masks[0], objects, boxes, 28)
    expected = np.unpackbits(golden["targets"]).reshape(targets.shape)
    assert 0 < expected.mean() < 1
    assert np.array_equal(targets.numpy(), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_losses_and_gradients_equal_detectron2s_when_all_is_drawn(norm: str, golden: dict[str, Any]) -> None:
    """Of the gradients their norms were recorded: they differ by no more than the gradients do."""

    losses, gradients = outcome(*doubled(norm))
    singles = [outcome(model_of(norm), moved_maps(seed)) for seed in SEEDS]
    assert losses.keys() == LOSSES
    errors = fp32_errors(losses, [single for single, _ in singles])
    for name, loss in losses.items():
        assert_fp32(torch.from_numpy(golden[f"{norm}_loss_{name}"]), loss, errors[name], name)
    expected = dict(zip(golden[f"{norm}_gradient_names"].tolist(), golden[f"{norm}_gradient_norms"], strict=True))
    assert gradients.keys() == expected.keys()
    errors = fp32_errors(gradients, [single for _, single in singles])
    for name, gradient in gradients.items():
        assert abs(gradient.norm().item() - float(expected[name])) <= MARGIN * errors[name], name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("regionless", [False, True])
def test_every_parameter_has_a_gradient_also_without_objects(norm: str, regionless: bool) -> None:
    """One that has none would stop DDP. Without objects the masks' and boxes' are zeros, without regions all heads'."""
    model, maps, batch = model_of(norm).train(), case.maps(), case.empty_batch()
    if regionless:  # every proposal is empty inside an image without height
        batch = batch._replace(size=torch.tensor([[0, 256], [0, 256]]))
    losses = model.losses(maps, batch)
    assert losses["rpn_loc"] == losses["box_reg"] == losses["mask"] == 0
    assert losses["rpn_cls"] > 0
    assert (losses["cls"] > 0) != regionless
    gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), [*model.parameters(), *maps])
    named = dict(zip((name for name, _ in model.named_parameters()), gradients, strict=False))
    assert all(gradient.isfinite().all() for gradient in gradients)
    zeros = ("anchor_deltas", "roi_heads") if regionless else ("anchor_deltas", "bbox_pred", "mask_head")
    for name, gradient in named.items():
        assert gradient.any().item() != any(part in name for part in zeros), name


def test_an_object_without_width_teaches_nothing() -> None:
    model, maps, batch = model_of(), case.maps(), case.batch()
    boxes = torch.cat([batch.boxes[0][:1], torch.tensor([[7.0, 7, 7, 90]]), batch.boxes[0][1:]])
    labels = torch.cat([batch.labels[0][:1], torch.tensor([1]), batch.labels[0][1:]])
    masks = [[batch.masks[0][0], InstanceMask((), None), *batch.masks[0][1:]], []]
    more = batch._replace(boxes=[boxes, batch.boxes[1]], labels=[labels, batch.labels[1]], masks=masks)
    assert model.losses(maps, more) == model.losses(maps, batch)


def test_running_statistics_stay_when_there_is_no_object() -> None:
    model = model_of("BN").train()
    head = model.get_submodule("roi_heads.mask_head")
    before = {name: value.clone() for name, value in head.named_buffers()}
    model.losses(case.maps(), case.empty_batch())
    assert all(torch.equal(value, before[name]) for name, value in head.named_buffers())


def test_nothing_is_detected_where_nothing_can_be() -> None:
    """No proposal is finite; or none scores enough; or all are empty at the file's size."""
    size, original = case.sizes()
    nothing = [model_of(), model_of(min_score=1.0), model_of()]
    nn.init.constant_(nothing[0].proposal_generator.rpn_head.anchor_deltas.weight, math.nan)
    for model, at in zip(nothing, (original, original, torch.zeros_like(original)), strict=True):
        for found in model.eval().detect(case.maps(), size, at):
            assert [tuple(part.shape) for part in found if part is not None] == [(0, 4), (0,), (0,), (0, 28, 28)]
            assert found.masks is not None
            assert paste_masks(found.masks, found.boxes, HeightWidth(5, 7)).shape == (0, 5, 7)


def test_draws_come_from_torchs_generator() -> None:
    model, maps = model_of(rpn_batch=32, roi_batch=16), case.maps()

    def losses(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return [loss.item() for loss in model.losses(maps, case.batch()).values()]

    assert losses(1) == losses(1)
    assert losses(1)[0] != losses(2)[0]
    assert losses(1)[2] != losses(2)[2]


def test_bfloat16_autocast_keeps_boxes_scores_and_losses_in_float32() -> None:
    model, maps, (size, original) = model_of(), case.maps(), case.sizes()
    exact = model.losses(maps, case.batch())
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(maps, case.batch())
        found = model.detect(maps, size, original)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact[name].item(), rel=0.1), name
    for image, height_width in zip(found, original.tolist(), strict=True):
        assert [value.dtype for value in image if value is not None] == DTYPES
        assert (image.boxes >= 0).all()
        assert (image.boxes[:, 2:].amax(0) <= torch.tensor(height_width[::-1])).all()


def test_bitmaps_train_almost_as_the_polygons_they_were_drawn_from() -> None:
    batch = case.batch()
    masks = [[_bitmap(mask.polygons) for mask in batch.masks[0]], []]
    model, maps = model_of(), case.maps()
    polygons, bitmaps = model.losses(maps, batch), model.losses(maps, batch._replace(masks=masks))
    assert bitmaps["mask"].item() == pytest.approx(polygons["mask"].item(), rel=0.02)
    assert bitmaps["mask"] != polygons["mask"]
    assert bitmaps["cls"] == polygons["cls"]


def _bitmap(polygons: tuple[np.ndarray, ...]) -> InstanceMask:
    runs = coco.merge(coco.frPyObjects([list(part) for part in polygons], case.SIDE, case.SIDE))
    return InstanceMask((), coco.decode(runs).astype(bool))


def test_weights_have_detectron2s_names_and_shapes() -> None:
    """Those of ViTDet's released files, without their backbone."""
    with torch.device("meta"):
        state = MaskRCNN(256, 80, case.settings()).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    expected = {
        "proposal_generator.rpn_head.conv.conv0.weight": (256, 256, 3, 3),
        "proposal_generator.rpn_head.conv.conv1.bias": (256,),
        "proposal_generator.rpn_head.objectness_logits.weight": (3, 256, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas.weight": (12, 256, 1, 1),
        "roi_heads.box_head.conv4.weight": (256, 256, 3, 3),
        "roi_heads.box_head.conv4.norm.bias": (256,),
        "roi_heads.box_head.fc1.weight": (1024, 12544),
        "roi_heads.box_predictor.cls_score.weight": (81, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (320, 1024),
        "roi_heads.mask_head.mask_fcn1.norm.weight": (256,),
        "roi_heads.mask_head.deconv.weight": (256, 256, 2, 2),
        "roi_heads.mask_head.predictor.weight": (80, 256, 1, 1),
    }
    assert expected.items() <= shapes.items()
    assert len(shapes) == 8 + 12 + 2 + 4 + 12 + 4
    one = MaskRCNN(8, 2, case.settings(case.NARROW, num_rpn_convs=1, num_box_convs=0, num_mask_convs=0))
    assert "proposal_generator.rpn_head.conv.weight" in one.state_dict()
    assert one.state_dict()["roi_heads.box_head.fc1.weight"].shape == (32, 8 * 49)


def test_initial_weights_have_the_published_spread() -> None:
    torch.manual_seed(0)
    state = MaskRCNN(64, 30, case.settings(head_channels=64, fc_channels=128)).state_dict()
    deviations = {
        "rpn_head": 0.01,
        "cls_score": 0.01,
        "bbox_pred": 0.001,
        "mask_head.predictor": 0.001,
        "deconv": (2 / (64 * 4)) ** 0.5,
        "box_head.conv": (2 / (64 * 9)) ** 0.5,
        "mask_fcn": (2 / (64 * 9)) ** 0.5,
        "fc1": (1 / (64 * 49)) ** 0.5,
    }
    for name, value in state.items():
        if value.dim() > 1:
            (deviation,) = [number for part, number in deviations.items() if part in name]
            assert value.std().item() == pytest.approx(deviation, rel=0.1), name
        else:
            assert (value == float(name.endswith("norm.weight"))).all(), name


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"norm": "GN"}, "model.mask_rcnn.norm: got GN, expected LN or BN"),
        ({"num_rpn_convs": 0}, "model.mask_rcnn.num_rpn_convs: got 0, expected 1 or more"),
        ({"num_box_convs": -1}, "model.mask_rcnn.num_box_convs: got -1, expected 0 or more"),
        ({"roi_positive": 1.5}, "model.mask_rcnn.roi_positive: got 1.5, expected 0 to 1"),
        (
            {"rpn_iou": [1, 0.3]},
            "model.mask_rcnn.rpn_iou: got [1, 0.3], expected two overlaps from 0 to 1, the lower one first",
        ),
        ({"box_weights": [10, 10]}, "model.mask_rcnn.box_weights: got [10, 10], expected 4 numbers above 0"),
        ({"anchor_ratios": []}, "model.mask_rcnn.anchor_ratios: got [], expected one number or more, each above 0"),
        (
            {"anchor_sizes": [32, 64]},
            "model.mask_rcnn.anchor_sizes: got 2 sizes, expected 5, one for each map of the pyramid "
            "(strides 4, 8, 16, 32, 64)",
        ),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        model_of(**changes)
    assert str(caught.value) == line
