"""Every architecture's tokens, taps and gradients are those of timm's and of transformers' own models."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maekit.backbone.vit import ViT
from tests.backbone.peers import TAPS, Peer, peers
from tests.numeric import assert_float64

pytestmark = pytest.mark.numeric
NAMES = sorted(peers())
# transformers' BEiT takes the table of a grid that is not square for one of as many columns as it has rows
SQUARE_ONLY = ("beit, transformers",)


def pair(peer: Peer, image_size: tuple[int, int], dtype: torch.dtype) -> tuple[ViT, nn.Module]:
    """Our model and theirs, with the same random parameters."""
    torch.manual_seed(0)
    theirs, ours = peer.make(image_size), ViT(peer.size, image_size=image_size, final_norm=peer.final_norm)
    for name, parameter in theirs.named_parameters():
        nn.init.normal_(parameter, mean=float(name.endswith(("norm.weight", "norm1.weight"))), std=0.15)
    given = peer.names({name: parameter.detach() for name, parameter in theirs.named_parameters()})
    given = {name: tensor for name, tensor in given.items() if peer.final_norm or not name.startswith("norm.")}
    table = ours.pos_embed
    if table is not None and given["pos_embed"].shape != table.shape:
        resize: Any = theirs.get_submodule("embeddings").interpolate_pos_encoding
        given["pos_embed"] = resize(torch.empty(table.shape), *image_size)
    ours.load_state_dict(given)
    return ours.to(dtype).eval(), theirs.to(dtype).eval()


def results(model: Any, run: Any, names: Any, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    tokens, maps = run(model, images)
    generator = torch.Generator().manual_seed(3)
    outputs = [tokens, *maps]
    torch.autograd.backward(
        outputs, [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.dtype) for o in outputs]
    )
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return tokens, maps, names(gradients)


def ours_run(model: ViT, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    found = model(images, taps=TAPS)
    return found.tokens, found.maps


def compared(name: str, image_size: tuple[int, int], dtype: torch.dtype) -> tuple[Any, Any]:
    peer = peers()[name]
    ours, theirs = pair(peer, image_size, dtype)
    images = torch.randn(2, 3, *image_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    mine = results(ours, ours_run, dict, images)
    other = results(theirs, peer.run, peer.names, images)
    fixed = {name for name, parameter in ours.named_parameters() if not parameter.requires_grad}
    assert set(mine[2]) == set(other[2]) - fixed - ({"norm.weight", "norm.bias"} if not peer.final_norm else set())
    for name in [name for name in mine[2] if mine[2][name].shape != other[2][name].shape]:
        assert name == "pos_embed", name  # one of them is the table before it was resized
        del mine[2][name]
    return mine, (*other[:2], {key: other[2][key] for key in mine[2]})


def check(name: str, image_size: tuple[int, int]) -> None:
    mine, other = compared(name, image_size, torch.float64)
    for found, expected in zip(mine, other, strict=True):
        assert_float64(found, expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SQUARE_ONLY])
def test_tokens_taps_and_gradients_are_theirs_where_images_are_not_square(name: str) -> None:
    check(name, (32, 64))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NAMES)
def test_tokens_taps_and_gradients_are_theirs_on_square_images(name: str) -> None:
    check(name, (32, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image_size"),
    [(name, size) for name in NAMES for size in ((32, 32), (32, 64)) if size[0] == size[1] or name not in SQUARE_ONLY],
)
def test_in_single_precision_too(name: str, image_size: tuple[int, int]) -> None:
    mine, other = compared(name, image_size, torch.float32)
    for found, expected in zip(mine, other, strict=True):
        found, expected = (list(part.values()) if isinstance(part, dict) else part for part in (found, expected))
        scale = max(1.0, *(tensor.abs().max().item() for tensor in expected))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)
