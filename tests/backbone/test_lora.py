"""Low-rank adapters: the model at the start, what they compute, merging, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.backbone.freeze import add_lora, freeze_embeddings
from maekit.backbone.lora import TARGETS, LoraLinear, merged, rank_of, target_names
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError

VIEWS: tuple[dict[str, Any], ...] = (
    {},
    {"window": 2, "class_token": False, "relative_position": "decomposed"},  # 3 x 4 patches: windows are padded
    {"relative_position": "table", "layer_scale": 0.1},
)


def vit(**options: Any) -> ViT:
    torch.manual_seed(0)
    return ViT(load_size("vit_test_patch8"), image_size=(24, 32), **options)


def images() -> Tensor:
    return torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))


def adapted(rank: int = 3, alpha: float | None = None, dropout: float = 0.0, **options: Any) -> ViT:
    model = vit(**options)
    add_lora(model, rank=rank, alpha=alpha, targets=TARGETS, dropout=dropout)
    return model


def randomise(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_b" in name:
            parameter.data.normal_(std=0.1, generator=generator)


@pytest.mark.parametrize("options", VIEWS)
def test_at_the_start_the_features_are_those_of_the_plain_vit_bit_for_bit(options: dict[str, Any]) -> None:
    plain, tuned = vit(**options), adapted(**options)
    state = tuned.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert torch.equal(tuned(images()).tokens, plain(images()).tokens)


def test_adding_adapters_draws_nothing_from_the_runs_generator() -> None:
    torch.manual_seed(0)
    model = ViT(load_size("vit_test_patch8"), image_size=(24, 32))
    before = torch.get_rng_state()
    add_lora(model, rank=2, alpha=None, targets=TARGETS, dropout=0.0)
    assert torch.equal(torch.get_rng_state(), before)
    drawn = [p for name, p in model.named_parameters() if name.endswith("qkv.lora_a")]
    assert not torch.equal(drawn[0], drawn[1])


def test_a_layer_computes_the_papers_formula() -> None:
    base = nn.Linear(6, 5).double()
    layer = LoraLinear(base, rank=2, alpha=6.0, dropout=0.0, generator=torch.Generator().manual_seed(0))
    layer.lora_b.data.normal_()
    x = torch.randn(4, 6, dtype=torch.float64)
    expected = x @ base.weight.T + base.bias + 3.0 * x @ layer.lora_a.T @ layer.lora_b.T
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.without_bias(x), expected - base.bias, rtol=0, atol=1e-12)
    assert layer.lora_a.abs().max() <= 6**-0.5


def test_dropout_is_of_what_the_update_is_computed_from_in_training_only() -> None:
    layer = LoraLinear(nn.Linear(6, 5), rank=2, alpha=2.0, dropout=0.5, generator=torch.Generator().manual_seed(0))
    layer.lora_b.data.normal_()
    x = torch.randn(4, 6)
    torch.manual_seed(3)
    found = layer(x)
    torch.manual_seed(3)
    dropped = F.dropout(x, 0.5)
    torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias) + dropped @ layer.lora_a.T @ layer.lora_b.T)
    assert torch.equal(layer.eval()(x), layer(x))


@pytest.mark.parametrize("options", VIEWS)
def test_the_merged_weights_give_the_same_features(options: dict[str, Any]) -> None:
    tuned, plain = adapted(alpha=7.0, **options).double(), vit(**options).double()
    randomise(tuned)
    state = merged(tuned.state_dict(), "here")
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    expected = tuned(images().double()).tokens
    assert (expected - vit(**options).double()(images().double()).tokens).abs().max() > 0.01
    torch.testing.assert_close(plain(images().double()).tokens, expected, rtol=0, atol=1e-10)
    assert rank_of(tuned.state_dict()) == 3 and rank_of(state) is None


def test_only_adapters_learn_and_each_has_the_layer_of_its_block() -> None:
    model = adapted()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert trained == {f"blocks.{i}.{of}.lora_{ab}" for i in range(3) for of in layers for ab in "ab"}
    assert model.layer_of("blocks.1.attn.qkv.lora_a") == 2
    model(images()).tokens.sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_targets_are_named_with_commas_or_as_a_list() -> None:
    assert target_names(None) == TARGETS
    assert target_names("proj, qkv") == target_names(["qkv", "proj"]) == ("qkv", "proj")
    model = vit()
    add_lora(model, rank=2, alpha=None, targets=("fc2",), dropout=0.0)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"blocks.{i}.mlp.fc2.lora_{ab}" for i in range(3) for ab in "ab"
    }


@pytest.mark.parametrize(("given", "hint"), [("qk", "did you mean 'qkv'"), ("qkv,fc3", "did you mean"), ("", "got ''")])
def test_other_targets_are_refused_with_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(UserError, match=r"model.lora_targets: got .*expected of qkv, proj, fc1, fc2") as caught:
        target_names(given)
    assert hint in str(caught.value)


@pytest.mark.parametrize("rank", [0, -1, 1000])
def test_a_rank_outside_the_width_is_refused(rank: int) -> None:
    with pytest.raises(UserError, match=rf"model.lora_rank: got {rank}, expected a number in \[1, "):
        adapted(rank)


def test_half_an_adapter_is_refused() -> None:
    state = adapted().state_dict()
    del state["blocks.1.mlp.fc1.lora_b"]
    with pytest.raises(UserError, match=r"x.ckpt has an adapter \(LoRA\) of 'blocks.1.mlp.fc1' that is not whole"):
        merged(state, "x.ckpt")


def test_frozen_embeddings_are_all_that_comes_before_the_blocks() -> None:
    model = vit()
    freeze_embeddings(model)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_under_autocast_an_adapted_vit_gives_what_a_plain_one_does_in_type_and_number() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        one, two = vit()(images()).tokens, adapted()(images()).tokens
        layer = LoraLinear(nn.Linear(6, 5), rank=2, alpha=2.0, dropout=0.0, generator=torch.Generator())
        assert layer(torch.ones(2, 6)).dtype == torch.bfloat16
    assert one.dtype == two.dtype and torch.equal(one, two)
