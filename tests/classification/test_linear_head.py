"""The linear head: equal to timm's, with the published initialisation."""

from typing import Literal

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.backbone.vit import ViT
from maekit.classification.linear_head import LinearHead, Pooling
from maekit.errors import UserError
from tests.numeric import assert_float64

pytestmark = pytest.mark.numeric


VIT = ViT(Size("tiny", embed_dim=24, num_blocks=1, num_heads=2, patch_size=8), image_size=(32, 32))


def _pair(pooling: Pooling) -> tuple[LinearHead, VisionTransformer]:
    """Our head and timm's, with the same random parameters."""
    torch.manual_seed(0)
    pool: Literal["avg", "token"] = "avg" if pooling == "mean" else "token"
    theirs = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2, num_classes=7, global_pool=pool
    )
    ours = LinearHead(24, 7, pooling=pooling, init_std=2e-5)
    pairs = [(ours.fc, theirs.head)] + ([(ours.fc_norm, theirs.fc_norm)] if pooling == "mean" else [])
    with torch.no_grad():
        for mine, other in pairs:
            for name, p in other.named_parameters():
                mine.get_parameter(name).copy_(torch.nn.init.normal_(p))
    return ours, theirs


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_logits_and_gradients_equal_timms(pooling: Pooling) -> None:
    ours, theirs = _pair(pooling)
    results: list[tuple[Tensor, Tensor]] = []
    for head in (lambda tokens: ours(VIT.pool(tokens, pooling)), theirs.forward_head):
        tokens = torch.randn(3, 17, 24, generator=torch.Generator().manual_seed(1)).mul_(3).requires_grad_()
        logits = head(tokens)
        (logits * torch.arange(21.0).view(3, 7)).sum().backward()
        assert tokens.grad is not None
        results.append((logits.detach(), tokens.grad))
    assert_float64(results[0], results[1])
    assert results[0][0].shape == (3, 7)


def test_mean_pooling_ignores_the_class_token_and_class_pooling_all_others() -> None:
    tokens = torch.randn(2, 5, 24)
    for pooling, unused in (("mean", slice(0, 1)), ("class", slice(1, 5))):
        head = _pair(pooling)[0]  # type: ignore[arg-type]
        changed = tokens.clone()
        changed[:, unused] = 100.0
        pooled = [VIT.pool(given, pooling) for given in (changed, tokens)]  # type: ignore[arg-type]
        torch.testing.assert_close(head(pooled[0]), head(pooled[1]), rtol=0, atol=0)


@pytest.mark.parametrize(("pooling", "norm"), [("mean", {"fc_norm.weight", "fc_norm.bias"}), ("class", set[str]())])
def test_only_what_is_used_is_built(pooling: Pooling, norm: set[str]) -> None:
    head = LinearHead(24, 7, pooling=pooling, init_std=2e-5)
    assert head.state_dict().keys() == {"fc.weight", "fc.bias"} | norm
    assert all(p.requires_grad for p in head.parameters())


def test_initialisation_is_that_of_the_released_fine_tuning() -> None:
    torch.manual_seed(0)
    head = LinearHead(768, 1000, pooling="mean", init_std=2e-5)
    weight = head.fc.weight.double() / 2e-5  # 768,000 draws: standard error of the deviation 8e-4
    assert abs(weight.std().item() - 1) < 4e-3
    assert abs(weight.mean().item()) < 5e-3
    assert 4.0 < weight.abs().max().item() < 6.5  # cut at +-2 absolute, 100,000 deviations: a plain normal
    assert torch.equal(head.fc.bias, torch.zeros(1000))
    assert torch.equal(head.get_parameter("fc_norm.weight"), torch.ones(768))
    assert torch.equal(head.get_parameter("fc_norm.bias"), torch.zeros(768))


def test_the_cut_is_absolute() -> None:
    torch.manual_seed(0)
    weight = LinearHead(100, 100, pooling="class", init_std=1.5).fc.weight
    assert 1.95 < weight.abs().max().item() <= 2.0


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UserError, match="got pooling 'clas', expected mean or class; did you mean 'class'"):
        LinearHead(8, 2, pooling="clas", init_std=0.01)  # type: ignore[arg-type]
