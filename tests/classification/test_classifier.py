"""The task's model: losses against their formulas, mixup's even batches, and what a weights file may lack."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.base.spec import DataSpec
from maekit.data.images.batch import ImageBatch
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.numeric import assert_fp32_function

pytestmark = pytest.mark.numeric


def model(classes: int = 7, **overrides: Any) -> Any:
    recipe = load_recipe(find_task("imagenet_finetune"), "smoke")
    module = recipe.task.load()
    flags = ["--model.backbone=vit_test_patch8", *(f"--model.{key}={value}" for key, value in overrides.items())]
    values = resolve(recipe, module, flags, training=False).values["model"]
    torch.manual_seed(0)
    return module.Model.build(DataSpec(tuple(f"c{i}" for i in range(classes)), (16, 24)), values).train()


def batch(size: int) -> ImageBatch:
    images = torch.randn(size, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    return ImageBatch(images, torch.arange(size) % 7, torch.arange(size))


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.double().log_softmax(-1)).sum(-1).mean()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_smoothed_loss_is_its_formula(pooling: str) -> None:
    net = model(pooling=pooling, mixup=0, cutmix=0, label_smoothing=0.1, drop_path=0)
    images = batch(5)
    targets = torch.full((5, 7), 0.1 / 7, dtype=torch.float64)
    targets[torch.arange(5), images.label] += 0.9

    def loss(image: Tensor) -> Tensor:
        value: Tensor = net.training_losses(images._replace(image=image))["loss"]
        return value

    assert_fp32_function(loss, [images.image], cross_entropy(net(images.image), targets))


@pytest.mark.usefixtures("float64")
def test_mixed_loss_pairs_each_image_with_the_batch_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model(mixup=0.8, cutmix=0, mix_probability=1.0, label_smoothing=0.1, drop_path=0)
    net.mix._params_per_batch = lambda: (0.3, False)
    images = batch(6)
    mixed = 0.3 * images.image + 0.7 * images.image.flip(0)
    hard = torch.full((6, 7), 0.1 / 7, dtype=torch.float64)
    hard[torch.arange(6), images.label] += 0.9
    before = images.image.clone()

    def loss(image: Tensor) -> Tensor:
        value: Tensor = net.training_losses(images._replace(image=image))["loss"]
        return value

    assert_fp32_function(loss, [images.image], cross_entropy(net(mixed), 0.3 * hard + 0.7 * hard.flip(0)))
    torch.testing.assert_close(images.image, before, rtol=0, atol=0)


def test_an_odd_batch_cannot_be_mixed_and_says_so() -> None:
    net = model(mixup=0.8, cutmix=1.0)
    assert net.pairs_images
    with pytest.raises(UserError, match=r"got a batch of 5 images, expected an even number.*--data.device_batch_size"):
        net.training_losses(batch(5))
    assert not model(mixup=0, cutmix=0).pairs_images


def test_every_parameter_gets_a_gradient() -> None:
    """What is not used breaks DDP."""
    for pooling in ("mean", "class"):
        net = model(pooling=pooling, mixup=0.8, cutmix=1.0, drop_path=0)
        net.training_losses(batch(6))["loss"].backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_pre_trained_file_may_lack_the_head_and_nothing_else(tmp_path: Any) -> None:
    net = model(pooling="mean")
    state = {name: torch.randn_like(tensor) for name, tensor in net.backbone.state_dict().items()}
    torch.save({"model": state | {"norm.weight": torch.ones(48), "norm.bias": torch.zeros(48)}}, tmp_path / "pre.pth")
    net.weights = str(tmp_path / "pre.pth")
    report = net.load_start(complete=False)
    assert report is not None
    assert report.coverage == 1.0
    for name, tensor in net.backbone.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    with pytest.raises(UserError, match="head"):
        net.load_start(complete=True)
    del state["blocks.1.attn.qkv.weight"]
    torch.save({"model": state}, tmp_path / "pre.pth")
    with pytest.raises(UserError, match=r"blocks\.1\.attn\.qkv\.weight"):
        net.load_start(complete=False)


def test_without_a_headline_a_line_shows_every_metric() -> None:
    assert model().headlines({"top1": 1.0, "loss": 2.0}) == {"top1": 1.0, "loss": 2.0}


@pytest.mark.parametrize(("classes", "expected"), [(5, ["top1"]), (6, ["top1", "top5"])])
def test_of_few_classes_top5_says_nothing(classes: int, expected: list[str]) -> None:
    metrics = model(classes).new_metrics()
    metrics.update(torch.eye(classes), torch.arange(classes), torch.arange(classes))
    assert list(metrics.compute()) == [*expected, "loss"]
    asked = model(classes, metrics="top5,top1").new_metrics()
    asked.update(torch.eye(classes), torch.arange(classes), torch.arange(classes))
    assert list(asked.compute()) == ["top5", "top1", "loss"], "asked for, it is measured"
