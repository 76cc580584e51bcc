"""Channels last changes how maps lie in memory, and no number."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import maekit
from maekit.base.memory_format import MapModule, use_channels_last
from maekit.base.spec import Draw


def session(task: str, **overrides: Any) -> maekit.Session:
    given = {"model.weights": "none", "data.num_workers": 0, "model.backbone": "vit_smoke_patch8"}
    return maekit.build(task, "smoke", {**given, **overrides})


def in_double(batch: Any) -> Any:
    """The batch with its numbers in float64."""
    return batch._replace(image=batch.image.double())


def step(model: Any, batch: Any) -> dict[str, Tensor]:
    """The losses and all gradients."""
    torch.manual_seed(0)
    model.zero_grad()
    losses: dict[str, Tensor] = model.training_losses(batch)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    return losses | {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("ade20k_upernet", {}),
        ("coco_maskrcnn", {}),
        ("coco_maskrcnn", {"model.pyramid": "taps", "model.taps": [0, 1, 2, 3]}),
    ],
)
def test_losses_and_gradients_are_those_of_maps_channel_by_channel(task: str, overrides: dict[str, Any]) -> None:
    built = session(task, **overrides, **{"model.drop_path": 0.0})
    model, data = built.model.double().train(), built.data
    images = data.train_dataset(0)
    batch = in_double(data.collate([images[Draw(0, index)] for index in range(2)]))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = step(model, batch)
    model.load_state_dict(state)  # BatchNorm's statistics
    seen = layouts(model)
    assert use_channels_last(model) > 0
    found = step(model, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11)
    assert any(seen), "no convolution was given a map that lies channels last"
    for name, tensor in model.state_dict().items():
        assert tensor.is_contiguous(), name


def layouts(model: nn.Module) -> list[bool]:
    """Whether each convolution larger than 1x1 was given a map channels last and not channel by channel; fills up."""
    seen: list[bool] = []

    def look(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        image = given[0]
        last = image.is_contiguous(memory_format=torch.channels_last)
        seen.append(last and not image.is_contiguous())

    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_pre_hook(look)
    return seen


def test_a_task_without_convolutions_has_nothing_to_lay_out() -> None:
    assert use_channels_last(session("imagenet_finetune").model) == 0
    assert not [part for part in session("imagenet_finetune").model.modules() if isinstance(part, MapModule)]
