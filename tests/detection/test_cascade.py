"""Cascade Mask R-CNN and boxes only, against what detectron2 gave (golden/cascade_arrays.npz) and by themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.detection.mask_rcnn import roi_heads
from maekit.detection.mask_rcnn.cascade import labelled, next_boxes, scaled_gradient
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.errors import UserError
from tests.detection.golden import detection_case as case
from tests.detection.helpers import losses_of
from tests.detection.helpers_golden import (
    assert_equal_up_to_rounding,
    doubled,
    model_of,
    moved_maps,
    order_of,
    outcome,
)
from tests.numeric import MARGIN, SEEDS, assert_fp32, fp32_errors

pytestmark = pytest.mark.numeric
DETECTORS = ["boxes", "cascade"]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).parent / "golden" / "cascade_arrays.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("detector", DETECTORS)
def test_detections_equal_detectron2s(detector: str, golden: dict[str, Any]) -> None:
    """Scores are the mean of the stages' and boxes the last one's; without masks there are none."""

    def detections(model: MaskRCNN, maps: list[Tensor]) -> list[dict[str, Tensor]]:
        found = [image._asdict() for image in model.eval().detect(maps, *case.sizes())]
        assert all((image["masks"] is None) == (detector == "boxes") for image in found)
        return [{name: part for name, part in image.items() if part is not None} for image in found]

    double = detections(*doubled("LN", detector))
    singles = [detections(model_of("LN", detector), moved_maps(seed)) for seed in SEEDS]
    for number, found in enumerate(double):
        assert len(found["boxes"]) == 12
        recorded = {name: torch.from_numpy(golden[f"{detector}_{number}_{name}"]) for name in found}
        assert_equal_up_to_rounding(recorded, found, [single[number] for single in singles])


def test_each_stages_boxes_equal_detectron2s(golden: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the order of the proposals."""

    def stages(model: MaskRCNN, maps: list[Tensor]) -> list[tuple[Tensor, dict[str, Tensor]]]:
        seen: list[list[Tensor]] = []

        def spied(*arguments: Any) -> list[Tensor]:
            seen.append(next_boxes(*arguments))
            return seen[-1]

        monkeypatch.setattr(roi_heads, "next_boxes", spied)
        predictions = model.eval().proposal_generator(maps)
        proposals = model.proposal_generator.best(predictions, case.sizes()[0], training=False)
        model.detect(maps, *case.sizes())
        rows = [torch.cat([boxes, logits[:, None]], 1) for boxes, logits in proposals]
        return [(row, {str(at): images[n] for at, images in enumerate(seen)}) for n, row in enumerate(rows)]

    double = stages(*doubled("LN", "cascade"))
    singles = [stages(model_of("LN", "cascade"), moved_maps(seed)) for seed in SEEDS]
    for number, (rows, boxes) in enumerate(double):
        assert set(boxes) == {"0", "1"}
        name = f"cascade_{number}"
        parts = [torch.from_numpy(golden[f"{name}_{part}"]) for part in ("proposals", "objectness")]
        order = order_of(torch.cat([parts[0], parts[1][:, None]], 1), rows)
        ordered = [
            {stage: image[order_of(row, rows)] for stage, image in of_image.items()}
            for row, of_image in (single[number] for single in singles)
        ]
        errors = fp32_errors(boxes, ordered)
        for stage, expected in boxes.items():
            assert_fp32(torch.from_numpy(golden[f"{name}_stage{stage}"])[order], expected, errors[stage], name)
        assert (boxes["0"] - boxes["1"]).abs().max() > 1


@pytest.mark.parametrize("detector", DETECTORS)
def test_losses_and_gradients_equal_detectron2s_when_all_is_drawn(detector: str, golden: dict[str, Any]) -> None:
    """Of the gradients their norms were recorded.

    They differ, relatively, by no more than rounding changes any gradient: a box that moves by a rounding step may be
    pooled from other pixels, and of a few boxes that happens in one run and not in another.
    """
    losses, gradients = outcome(*doubled("LN", detector))
    singles = [outcome(model_of("LN", detector), moved_maps(seed)) for seed in SEEDS]
    assert losses.keys() == losses_of(detector)
    errors = fp32_errors(losses, [single for single, _ in singles])
    for name, loss in losses.items():
        assert_fp32(torch.from_numpy(golden[f"{detector}_loss_{name}"]), loss, errors[name], name)
    names, norms = (golden[f"{detector}_gradient_{part}"] for part in ("names", "norms"))
    expected = dict(zip(names.tolist(), norms.tolist(), strict=True))
    assert gradients.keys() == expected.keys()
    errors = fp32_errors(gradients, [single for _, single in singles])
    worst = max(errors[name] / expected[name] for name in gradients)
    assert MARGIN * worst < 0.1, "rounding would hide a stage's gradient that is not divided by the number of stages"
    for name, gradient in gradients.items():
        assert abs(gradient.norm().item() - expected[name]) <= MARGIN * worst * expected[name], name


@pytest.mark.parametrize("regionless", [False, True])
@pytest.mark.parametrize("detector", ["boxes", "cascade"])
def test_every_parameter_has_a_gradient_also_without_objects(detector: str, regionless: bool) -> None:
    """One that has none would stop DDP. Every stage runs, also on no region."""
    model, maps, batch = model_of("LN", detector).train(), case.maps(), case.empty_batch()
    if regionless:  # every proposal is empty inside an image without height
        batch = batch._replace(size=torch.tensor([[0, 256], [0, 256]]))
    losses = model.losses(maps, batch)
    without = {name for name, loss in losses.items() if loss == 0}
    of_regions = {name for name in losses if "rpn" not in name}
    assert without == (of_regions if regionless else {name for name in of_regions if "cls" not in name}) | {"rpn_loc"}
    gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), [*model.parameters(), *maps])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_stage_is_given_all_boxes_that_are_not_empty() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 8], [0, 0, 10, 5], [3, 3, 3, 9], [80, 80, 90, 90]])
    true, labels = torch.tensor([[0.0, 0, 10, 10], [4, 4, 4, 4]]), torch.tensor([3, 1])
    for iou, expected in ((0.5, [3, 3, 5]), (0.6, [3, 5, 5]), (0.9, [5, 5, 5])):
        regions = labelled(boxes, true, labels, num_classes=5, iou=iou)
        assert regions.labels.tolist() == expected
        assert torch.equal(regions.boxes, boxes[[0, 1, 3]])
    nothing = labelled(boxes, true[:0], labels[:0], num_classes=5, iou=0.5)
    assert nothing.labels.tolist() == [5, 5, 5]


def test_boxes_that_are_not_finite_are_empty_in_the_next_stage() -> None:
    model = model_of("LN", "cascade").eval()
    with torch.no_grad():
        model.get_parameter("roi_heads.box_predictor.0.bbox_pred.bias").fill_(torch.nan)
    assert [len(image.boxes) for image in model.detect(case.maps(), *case.sizes())] == [0, 0]
    assert all(
        loss.isfinite() for name, loss in model.losses(case.maps(), case.batch()).items() if "stage0" not in name
    )


def test_a_scaled_gradient_leaves_the_values() -> None:
    values = torch.tensor([2.0, -3.0], requires_grad=True)
    scaled = scaled_gradient(values, 1 / 3)
    assert torch.equal(scaled, values)
    (scaled * torch.tensor([3.0, 6.0])).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cascade_iou": [0.6, 0.7]},
            "model.mask_rcnn.cascade_box_weights: got the weights of 0 stages, expected 2, one for each overlap in "
            "model.mask_rcnn.cascade_iou [0.6, 0.7]",
        ),
        (
            case.CASCADE | {"cascade_iou": [0.6]},
            "model.mask_rcnn.cascade_box_weights: got the weights of 2 stages, expected 1, one for each overlap in "
            "model.mask_rcnn.cascade_iou [0.6]",
        ),
        (
            case.CASCADE | {"cascade_iou": [0.6, 1.7]},
            "model.mask_rcnn.cascade_iou: got [0.6, 1.7], expected an overlap from 0 to 1 for each stage after the "
            "first",
        ),
        (
            {"cascade_iou": [0.6], "cascade_box_weights": [[20.0, 20.0, 10.0]]},
            "model.mask_rcnn.cascade_box_weights: got [[20.0, 20.0, 10.0]], expected four numbers above 0 for each "
            "stage after the first",
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        case.settings(changes)
    assert str(caught.value) == message
