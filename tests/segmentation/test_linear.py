"""The linear segmentation probe: what it computes, what it trains, and which weights it takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.segmentation.data.dataset import SegBatch
from maekit.weights.get.find import find_weights

CLASSES, SIDE, PATCH = 7, 64, 8


def model(**overrides: Any) -> Any:
    stacked = load_recipe(find_task("ade20k_linear"), "smoke")
    module = stacked.task.load()
    chosen = {"weights": "none", "dropout": 0.0, "freeze": "backbone", **overrides}
    values = resolve(stacked, module, [f"--model.{key}={value}" for key, value in chosen.items()], training=False)
    torch.manual_seed(0)
    spec = DataSpec(tuple(map(str, range(CLASSES))), (SIDE, SIDE))
    return module.Model.build(spec, values.values["model"])


def batch() -> SegBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    return SegBatch(images, torch.randint(CLASSES, (2, SIDE, SIDE), generator=generator), torch.arange(2))


def test_logits_are_those_of_a_linear_layer_on_normalised_patches() -> None:
    """Written out with the blocks called by hand, in float64."""
    probe, images = model().double().eval(), batch().image.double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in (probe.head.bn.running_mean, probe.head.bn.weight, probe.head.bn.bias, probe.head.conv_seg.bias):
            tensor.normal_(generator=generator)
        probe.head.bn.running_var.uniform_(0.5, 2.0, generator=generator)
        vit, bn, conv = probe.backbone, probe.head.bn, probe.head.conv_seg
        patches = F.conv2d(images, vit.patch_embed.proj.weight, vit.patch_embed.proj.bias, stride=PATCH)
        grid = patches.shape[2:]
        tokens = torch.cat([vit.cls_token.expand(2, -1, -1), patches.flatten(2).transpose(1, 2)], 1) + vit.pos_embed
        for block in vit.blocks:
            tokens = block(tokens, tuple(grid))
        tokens = F.layer_norm(tokens, tokens.shape[2:], vit.norm.weight, vit.norm.bias, eps=1e-6)[:, 1:]
        scaled = (tokens - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias
        logits = (scaled @ conv.weight[:, :, 0, 0].T + conv.bias).transpose(1, 2).unflatten(2, grid)
        expected = F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
        torch.testing.assert_close(probe(images), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tuned", [False, True])
def test_a_step_trains_the_head_and_the_backbone_only_if_asked(tuned: bool) -> None:
    probe = model(freeze="null" if tuned else "backbone").train()
    before = {name: value.clone() for name, value in probe.state_dict().items()}
    trained = [p for p in probe.parameters() if p.requires_grad]
    losses = probe.training_losses(batch())
    assert list(losses) == ["loss"]
    losses["loss"].backward()
    torch.optim.SGD(trained, lr=0.1).step()
    moved = {name for name, value in probe.state_dict().items() if not value.equal(before[name])}
    assert {"head.bn.weight", "head.bn.running_mean", "head.conv_seg.weight", "head.conv_seg.bias"} <= moved
    assert any(name.startswith("backbone.blocks.0.") for name in moved) == tuned
    assert ("backbone.norm.weight" in moved) == tuned
    assert all(p.grad is not None and p.grad.any() for p in trained if p.dim() > 1)
    frozen = [model(drop_path=0.5).train().maps(batch().image)[0] for _ in range(2)]
    assert frozen[0].equal(frozen[1]), "drop path in a frozen backbone"


def test_pre_trained_weights_fill_the_backbone_with_its_final_norm() -> None:
    report = model(weights="mae_vit_smoke").load_start(complete=False)
    assert report is not None
    assert {"norm.weight", "blocks.3.mlp.fc2.weight"} <= {*report.matched}
    assert all(name.startswith("head.") for name in report.new)


def test_weights_without_a_final_norm_are_refused(tmp_path: Path) -> None:
    """Those of mean pooling have none, and a fresh one would give other features in silence."""
    state = load_file(find_weights("mae_vit_smoke"))
    torch.save({key: value for key, value in state.items() if not key.startswith("norm.")}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"norm\.weight"):
        model(weights=tmp_path / "a.pth").load_start(complete=False)
