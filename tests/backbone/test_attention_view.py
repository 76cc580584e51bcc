"""What the tokens of a block attend to, against transformers' own attention weights, and of any position module."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maekit.backbone import attention_view
from maekit.backbone.attention import Attention
from maekit.backbone.attention_view import View, view_block
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from tests.backbone.peers import Peer, peers
from tests.weights.helpers import images

pytestmark = pytest.mark.numeric
NAMES = [name for name in sorted(peers()) if name.endswith("transformers") and "swiglu" not in name]


def pair(peer: Peer) -> tuple[ViT, Any]:
    """Our model and transformers', with the same random parameters, for images of 32 x 32."""
    torch.manual_seed(0)
    theirs: Any = peer.make((32, 32))
    ours = ViT(peer.size, image_size=(32, 32), final_norm=peer.final_norm)
    for name, parameter in theirs.named_parameters():
        nn.init.normal_(parameter, mean=float(name.endswith(("norm.weight", "norm1.weight"))), std=0.15)
    given = peer.names({name: parameter.detach() for name, parameter in theirs.named_parameters()})
    ours.load_state_dict({name: given[name] for name in ours.state_dict()})
    theirs.set_attn_implementation("eager")
    return ours.eval(), theirs.eval()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize("name", NAMES)
def test_attention_is_that_of_transformers(name: str, block: int) -> None:
    peer = peers()[name]
    ours, theirs = pair(peer)
    pictures = images(32, 32).double()
    with torch.no_grad():  # not inference_mode: transformers caches indexes, which others differentiate through
        whole = theirs(pictures, output_attentions=True).attentions[block]  # [B, heads, P + N, P + N]
        found = view_block(ours, pictures, block)
    prefix = ours.num_prefix
    assert whole.shape[-1] == prefix + 16
    row = whole[:, :, 0] if ours.has_class_token else whole.mean(dim=2)
    torch.testing.assert_close(found.attention.flatten(2), row[..., prefix:], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.own, row[..., :prefix].sum(-1), rtol=0, atol=1e-6)
    assert float(row.std()) > 1e-3
    if block == 2:
        tokens = ours(pictures).tokens
        torch.testing.assert_close(found.patches, tokens[:, prefix:], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["vit_test_patch8", "vit_test_patch8_reg4", "vit_test_patch8_dinov3"])
def test_images_that_are_not_square_and_many_patches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vit = ViT(load_size(name), image_size=(32, 48)).eval()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        found = view_block(vit, images(32, 48).double(), 1)
        monkeypatch.setattr(attention_view, "_QUERIES", 5)
        vit.has_class_token = False
        mean = view_block(vit, images(32, 48).double(), 1)
    for view in (found, mean):
        assert view.attention.shape == (2, 2, 4, 6)
        torch.testing.assert_close(view.attention.sum((2, 3)) + view.own, torch.ones(2, 2))
    assert not torch.allclose(found.attention, mean.attention)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("relative", ["table", "decomposed", "shared"])
def test_any_position_module_is_asked_and_not_imitated(relative: Any) -> None:
    """The mean attention of the patches, times the values, is the mean of what the module gives."""
    vit = ViT(load_size("vit_test_patch8"), image_size=(32, 32), class_token=False, relative_position=relative).eval()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    seen: list[tuple[Tensor, Tensor]] = []
    attention = [module for module in vit.modules() if isinstance(module, Attention)][1]
    attention.position.register_forward_hook(lambda module, given, out: seen.append((given[2], out)))
    with torch.no_grad():
        view: View = view_block(vit, images(32, 32).double(), 1)
    values, out = seen[0]
    expected = torch.einsum("bhn,bhnd->bhd", view.attention.flatten(2), values)
    torch.testing.assert_close(expected, out.mean(dim=2), rtol=0, atol=1e-10)
    assert float(view.own.abs().max()) == 0


def test_windows_are_refused() -> None:
    vit = ViT(load_size("vit_test_patch8"), image_size=(32, 32), class_token=False, window=2, global_blocks=[2]).eval()
    with torch.no_grad():
        assert view_block(vit, images(32, 32), 2).attention.shape == (2, 2, 4, 4)
        with pytest.raises(UserError, match="block 0 attends in windows, expected to the whole image"):
            view_block(vit, images(32, 32), 0)
