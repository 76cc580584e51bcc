"""Register tokens: beside the class token, without a position, and in nobody's way."""

import dataclasses

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from maekit.backbone.relative_bias import TableBias
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from tests.numeric import assert_float64

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("float64")]
SIZE = dataclasses.replace(load_size("vit_test_patch8"), num_registers=4)


def vit(**options: object) -> ViT:
    torch.manual_seed(0)
    built = ViT(SIZE, image_size=(32, 48), **options)  # type: ignore[arg-type]
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built


def test_tokens_and_maps_equal_timms() -> None:
    ours = vit()
    theirs = VisionTransformer(
        img_size=(32, 48), patch_size=8, embed_dim=48, depth=3, num_heads=2, num_classes=0, reg_tokens=4,
        no_embed_class=False,
    )  # fmt: skip
    state = ours.state_dict()
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], torch.zeros(1, 4, 48), state["pos_embed"][:, 1:]], 1)
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    images = torch.randn(2, 3, 32, 48)
    found, expected = ours(images, taps=[0, 2]), theirs.forward_features(images)
    assert (ours.num_prefix, found.tokens.shape) == (5, (2, 5 + 24, 48))
    assert_float64(found.tokens, expected)
    assert_float64(ours.patch_tokens(found.tokens), expected[:, 5:])
    assert_float64(ours.pool(found.tokens, "mean"), expected[:, 5:].mean(1))
    assert_float64(ours.pool(found.tokens, "class"), expected[:, 0])
    pairs = theirs.get_intermediate_layers(images, n=[0, 2], reshape=True, return_prefix_tokens=True)
    assert_float64(found.maps, tuple(maps for maps, _ in pairs))
    assert_float64(found.class_tokens, tuple(prefix[:, 0] for _, prefix in pairs))
    assert vit(class_token=False)(images, taps=[0, 2]).class_tokens == ()


def test_registers_share_the_class_tokens_biases() -> None:
    one, five = TableBias(2, (2, 3), num_prefix=1), TableBias(2, (2, 3), num_prefix=5)
    torch.nn.init.normal_(one.table)
    five.load_state_dict(one.state_dict())
    places = torch.tensor([0, 0, 0, 0, 0, *range(1, 7)])
    assert torch.equal(five.bias(), one.bias()[:, places][:, :, places])


def test_without_registers_the_decoder_gets_what_it_always_got() -> None:
    tokens = torch.randn(2, 5 + 6, 48)
    kept = vit().without_registers(tokens)
    assert torch.equal(kept, tokens[:, [0, *range(5, 11)]])


def test_where_no_prefix_goes_before_the_patches_there_are_no_registers() -> None:
    windowed = vit(class_token=False, window=2)
    assert (windowed.num_prefix, windowed.reg_token) == (0, None)
