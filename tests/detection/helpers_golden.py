"""What a small Mask R-CNN, cascade or boxes-only detector gives, to be compared with what detectron2 gave."""

from typing import Any

import torch
from torch import Tensor

from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from tests.detection.golden import detection_case as case
from tests.numeric import assert_fp32, fp32_errors, moved


def model_of(norm: str = "LN", detector: str = "mask", **changes: Any) -> MaskRCNN:
    """The case's model, of a detector `mask`, `boxes` or `cascade`."""
    more = case.CASCADE if detector == "cascade" else {}
    settings = case.settings(case.NARROW, case.EXHAUSTIVE, {"norm": norm}, more, changes)
    model = MaskRCNN(case.CHANNELS, case.CLASSES, settings, masks=detector != "boxes")
    case.fill(model)
    return model


def doubled(norm: str, detector: str = "mask") -> tuple[MaskRCNN, list[Tensor]]:
    """The same model and maps, with convolutions, norms and linear layers in float64; the boxes stay float32."""
    maps = [image.detach().double().requires_grad_() for image in case.maps()]
    return model_of(norm, detector).double(), maps


def moved_maps(seed: int) -> list[Tensor]:
    """The case's maps, each value moved by up to one rounding step."""
    return [moved(image.detach(), seed).requires_grad_() for image in case.maps()]


def order_of(got: Tensor, expected: Tensor) -> Tensor:
    """The row of `got` that is nearest to each row of `expected`, one to one; only near ties swap."""
    assert got.shape == expected.shape
    nearest = torch.cdist(expected.double(), got.double()).argmin(1)
    assert nearest.sort().values.tolist() == list(range(len(expected)))
    assert (nearest - torch.arange(len(expected))).abs().max() <= 3
    return nearest


def assert_equal_up_to_rounding(
    recorded: dict[str, Tensor], double: dict[str, Tensor], singles: list[dict[str, Tensor]]
) -> None:
    """Rows are brought into the order of float64 by box and score; then each part is compared as `assert_fp32` does."""

    def ordered(found: dict[str, Tensor]) -> dict[str, Tensor]:
        order = order_of(torch.cat([found["boxes"], found["scores"][:, None]], 1), rows)
        return {name: value[order] for name, value in found.items()}

    rows = torch.cat([double["boxes"], double["scores"][:, None]], 1)
    errors = fp32_errors(double, map(ordered, singles))
    for name, value in ordered(recorded).items():
        assert_fp32(value, double[name], errors[name], name)


def outcome(model: MaskRCNN, maps: list[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses of the case's batch, and the gradient of each parameter and map."""
    losses = model.train().losses(maps, case.batch())
    named = dict(model.named_parameters()) | {f"map {number}": image for number, image in enumerate(maps)}
    gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), list(named.values()))
    return losses, dict(zip(named, gradients, strict=True))
