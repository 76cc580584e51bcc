"""The two engines of Mask R-CNN side by side, where detectron2 is installed, and the error where it is not."""

import importlib
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maekit.detection.data.batch import DetBatch, InstanceMask
from maekit.detection.detectron2.engine import Detectron2MaskRCNN
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.detection.mask_rcnn.paste import paste_masks
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from tests.detection.detectron2_peer import live
from tests.detection.golden import detection_case as case
from tests.detection.helpers import NORMS, losses_of

DETECTORS = ["mask", "boxes", "cascade", "cascade of boxes"]


def _engines(norm: str = "LN", detector: str = "mask") -> tuple[MaskRCNN, Detectron2MaskRCNN]:
    """Both with the same weights, loaded strictly in both directions, and all of ViTDet's numbers but the widths."""
    settings = case.settings(case.NARROW, {"norm": norm}, case.CASCADE if "cascade" in detector else {})
    masks = "boxes" not in detector
    ours = MaskRCNN(case.CHANNELS, case.CLASSES, settings, masks=masks)
    theirs = Detectron2MaskRCNN(case.CHANNELS, case.CLASSES, settings, masks=masks)
    case.fill(ours)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def _close(got: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


@live
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("norm", NORMS)
def test_proposals_and_detections_are_the_same(norm: str, detector: str) -> None:
    ours, theirs = (module.eval() for module in _engines(norm, detector))
    maps, (size, original) = case.maps(), case.sizes()
    best = ours.proposal_generator.best(ours.proposal_generator(maps), size, training=False)  # type: ignore[operator]
    features = dict(zip(theirs.levels, maps, strict=True))  # type: ignore[arg-type]
    with torch.no_grad():
        expected, _ = theirs.proposal_generator(theirs._images(maps, size), features, None)  # type: ignore[operator]
    for (boxes, logits), image in zip(best, expected, strict=True):
        assert len(boxes) > 900
        _close(boxes, image.proposal_boxes.tensor, 1e-2)
        _close(logits, image.objectness_logits, 1e-4)
    found, peer = (engine.detect(maps, size, original) for engine in (ours, theirs))
    for one, other, at in zip(found, peer, original.tolist(), strict=True):
        assert len(one.boxes) == 100
        assert (one.masks is None) == (other.masks is None) == ("boxes" in detector)
        for part, their_part, atol in zip(one, other, (1e-2, 1e-4, 0, 1e-3), strict=True):
            if part is not None and their_part is not None:
                _close(part, their_part, atol)
        if one.masks is None:
            continue
        paste = importlib.import_module("detectron2.layers").paste_masks_in_image
        assert torch.equal(paste_masks(one.masks, one.boxes, HeightWidth(*at)), paste(one.masks, one.boxes, tuple(at)))


@live
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("detector", "kind"),
    [("mask", "polygons"), ("mask", "bitmaps"), ("mask", "none"), ("boxes", "polygons"), ("boxes", "none"),
     ("cascade", "bitmaps"), ("cascade", "none"), ("cascade of boxes", "polygons")],
)  # fmt: skip
def test_a_training_step_with_the_same_seed_is_the_same(norm: str, detector: str, kind: str) -> None:
    """Losses and every gradient; both engines draw from torch's generator in the same order."""
    batch = {"polygons": case.batch, "bitmaps": _bitmaps, "none": case.empty_batch}[kind]()
    steps = []
    for engine in _engines(norm, detector):
        maps = case.maps()
        torch.manual_seed(5)
        losses = engine.train().losses(maps, batch)
        assert losses.keys() == losses_of(detector)
        total = sum(losses.values(), torch.zeros(()))
        found = torch.autograd.grad(total, [*engine.parameters(), *maps])
        names = [*dict(engine.named_parameters()), *map(str, range(len(maps)))]
        steps.append((losses, dict(zip(names, found, strict=True))))
    (losses, gradients), (their_losses, their_gradients) = steps
    for name, loss in their_losses.items():
        assert losses[name].item() == pytest.approx(loss.item(), rel=1e-5, abs=1e-7), name
    assert gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        if detector == "mask":
            _close(gradients[name], gradient, 1e-4 * gradient.abs().max().item() + 1e-9)
        else:  # boxes of later stages differ by roundings, and so do the pixels that they pool
            distance = (gradients[name] - gradient).norm().item()
            assert distance <= (1e-2 if "cascade" in detector else 1e-3) * gradient.norm().item() + 1e-8, name


def _bitmaps() -> DetBatch:
    batch = case.batch()
    draw = importlib.import_module("detectron2.structures.masks").polygons_to_bitmask
    masks = [InstanceMask((), draw(list(m.polygons), case.SIDE, case.SIDE)) for m in batch.masks[0]]
    return batch._replace(masks=[masks, []])


@live
def test_an_image_with_polygons_and_bitmaps_trains_in_both() -> None:
    batch = case.batch()
    mixed = batch._replace(masks=[[*_bitmaps().masks[0][:1], *batch.masks[0][1:]], []])
    values = []
    for engine in _engines():
        torch.manual_seed(5)
        values.append({name: loss.item() for name, loss in engine.losses(case.maps(), mixed).items()})
    assert values[0] == pytest.approx(values[1], rel=0.01)  # theirs makes them all bitmaps


@live
def test_initial_weights_are_distributed_alike() -> None:
    torch.manual_seed(0)
    settings = case.settings(head_channels=64, fc_channels=128)
    ours, theirs = (engine(64, 30, settings).state_dict() for engine in (MaskRCNN, Detectron2MaskRCNN))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if value.dim() > 1:
            assert ours[name].std().item() == pytest.approx(value.std().item(), rel=0.1), name
            tails = [tensor.abs().max().item() for tensor in (ours[name], value)]  # a normal or a uniform one
            assert tails[0] == pytest.approx(tails[1], rel=0.35), name
        else:
            assert torch.equal(ours[name], value), name


@live
def test_the_golden_arrays_are_what_detectron2_gives() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = importlib.import_module("tests.detection.golden.make_detectron2_arrays")
        modules: nn.ModuleDict = script.model("LN")
    made = script.evaluated(modules, "LN") | script.trained(modules, "LN")
    with np.load(script.FILE) as stored:
        assert {name for name in stored.files if name.startswith("LN")} == made.keys()
        for name, value in made.items():
            if name.endswith(("names", "pasted")):
                assert np.mean(np.asarray(value) != stored[name]) < 1e-3, name
            else:
                np.testing.assert_allclose(np.asarray(value, float), stored[name], rtol=1e-4, atol=1e-3, err_msg=name)


def test_without_detectron2_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(UserError) as caught:
        Detectron2MaskRCNN(case.CHANNELS, case.CLASSES, case.settings(case.NARROW))
    assert str(caught.value) == (
        "model.detector: got detectron2, expected it installed (detectron2 is missing); run `python -m pip install "
        "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2'`, or give --model.detector "
        "maekit, which finds the same"
    )
