"""Rotary positions: in windows, with padding, beside decomposed tables, augmented in training, for visible patches."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maekit.backbone.attention import Attention, Plain
from maekit.backbone.decomposed import Decomposed
from maekit.backbone.rotary import Rotary
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from tests.backbone.peers import peers
from tests.numeric import assert_float64
from tests.peers import transformers_peer

pytestmark = pytest.mark.numeric
SIZE = load_size("vit_test_patch8_dinov3")


def turned(x: Tensor, places: list[tuple[float, float]]) -> Tensor:
    """Vectors [..., N, 24] turned by the angles of their places (y, x), as complex numbers."""
    periods = 100 ** (torch.arange(6) / 6)
    angles = torch.stack([torch.cat([2 * torch.pi * y / periods, 2 * torch.pi * x_ / periods]) for y, x_ in places])
    pairs = torch.complex(x[..., :12], x[..., 12:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("decomposed", [False, True])
def test_in_windows_a_patch_keeps_its_place_on_the_whole_image_and_padding_goes_on_beyond(decomposed: bool) -> None:
    torch.manual_seed(0)
    grid, window = (4, 5), 3
    position = Decomposed(24, (window, window)) if decomposed else Plain()
    attention = Attention(48, 2, position, qkv_bias="no_key")
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    tokens = torch.randn(2, 20, 48)
    rotation = Rotary(SIZE).table(grid, 0, tokens, None, window=window)
    found = attention(tokens, grid, window, rotation)
    padded = torch.zeros(2, 6, 6, 48)
    padded[:, :4, :5] = tokens.view(2, 4, 5, 48)
    bias = attention.qkv.bias.clone()
    bias[48:96] = 0
    expected = torch.zeros(2, 6, 6, 48)
    for top, left in ((0, 0), (0, 3), (3, 0), (3, 3)):
        part = padded[:, top : top + 3, left : left + 3].reshape(2, 9, 48)
        qkv = (part @ attention.qkv.weight.T + bias).view(2, 9, 3, 2, 24).permute(2, 0, 3, 1, 4)
        places = [
            (2 * (y + 0.5) / 4 - 1, 2 * (x + 0.5) / 5 - 1) for y in range(top, top + 3) for x in range(left, left + 3)
        ]
        q, k = turned(qkv[0], places), turned(qkv[1], places)
        scores = q @ k.transpose(-2, -1) * 24**-0.5
        if isinstance(position, Decomposed):
            rows, columns = position.biases(q, (3, 3))
            scores = scores + (rows[..., :, None] + columns[..., None, :]).flatten(-2)
        out = (scores.softmax(-1) @ qkv[2]).transpose(1, 2).reshape(2, 3, 3, 48)
        expected[:, top : top + 3, left : left + 3] = out
    projected = expected[:, :4, :5].reshape(2, 20, 48) @ attention.proj.weight.T + attention.proj.bias
    assert_float64(found, projected)


@pytest.mark.usefixtures("float64")
def test_a_window_of_the_whole_grid_is_no_window() -> None:
    plain, windowed = (built(class_token=False, image_size=(32, 32), window=side).eval() for side in (0, 4))
    images = torch.randn(2, 3, 32, 32)
    assert_float64(windowed(images).tokens, plain(images).tokens)


@pytest.mark.parametrize("num_registers", [0, 4])
def test_augmented_coordinates_are_transformers_with_the_same_draws(num_registers: int) -> None:
    peer = peers()["dinov3, transformers"]
    config_of, model_of = transformers_peer("DINOv3ViT")
    config = config_of(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=2, intermediate_size=192, patch_size=8,
        num_register_tokens=num_registers, pos_embed_shift=0.3, pos_embed_jitter=1.3, pos_embed_rescale=2.0,
    )  # fmt: skip
    theirs: Any = model_of(config)
    size = replace(SIZE, num_registers=num_registers, rotary_shift=0.3, rotary_jitter=1.3)
    ours = ViT(size, image_size=(32, 48))
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    state = peer.names({name: parameter.detach() for name, parameter in theirs.named_parameters()})
    ours.load_state_dict({name: tensor for name, tensor in state.items() if name != "reg_token" or num_registers})
    images = torch.randn(2, 3, 32, 48)
    seen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found = ours.train()(images).tokens
        torch.manual_seed(seed)
        expected = theirs.train()(images).last_hidden_state
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
        seen.append(found)
    assert (seen[0] - seen[1]).abs().max() > 1e-3
    assert torch.equal(ours.eval()(images).tokens, ours(images).tokens)


def built(**options: Any) -> ViT:
    torch.manual_seed(0)
    vit = ViT(SIZE, **{"image_size": (32, 48), **options})
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.2)
    return vit


def test_recomputed_blocks_see_the_same_draw() -> None:
    images, gradients = torch.randn(2, 3, 32, 48), []
    for saving in (False, True):
        vit = built(gradient_checkpointing=saving, drop_path=0.3).train()
        torch.manual_seed(5)
        vit(images).tokens.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in vit.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("drop_path", [0.0, 0.6])
def test_visible_patches_keep_their_places(drop_path: float) -> None:
    vit = built(drop_path=drop_path).train(drop_path > 0)
    vit.augment_positions = False
    images = torch.randn(3, 3, 32, 48)
    order = torch.stack([torch.randperm(24) for _ in range(3)])
    results = []
    for visible in (None, order):
        torch.manual_seed(1)
        results.append(vit(images, visible=visible).tokens)
    whole = results[0][:, 5:].gather(1, order[..., None].expand(-1, -1, 48))
    assert_float64(results[1], torch.cat([results[0][:, :5], whole], dim=1))


def test_half_precision_rounds_no_angle() -> None:
    images = torch.randn(1, 3, 32, 48)
    vit = built().eval()
    seen: list[Tensor] = []
    vit.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    with torch.autocast("cpu", torch.bfloat16):
        vit(images)
    vit.to(torch.bfloat16)(images.bfloat16())
    assert [table.dtype for table in seen] == [torch.float32] * 2
    assert torch.equal(seen[0], seen[1])


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_compiled_as_one_graph_it_trains_the_same() -> None:
    eager, compiled = built(drop_path=0.3).train(), built(drop_path=0.3).train()
    compiled.compile(backend="eager", fullgraph=True)
    images, results = torch.randn(2, 3, 32, 48), []
    for vit in (eager, compiled):
        torch.manual_seed(4)
        tokens = vit(images).tokens
        tokens.square().sum().backward()
        results.append((tokens.detach(), {name: p.grad for name, p in vit.named_parameters()}))
    assert_float64(results[1], results[0])
