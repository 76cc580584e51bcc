"""What the tokens of a block attend to, asked of any position module."""

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
from tests.weights.helpers import images

pytestmark = pytest.mark.numeric


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["vit_test_patch8", "vit_test_patch8_reg4", "vit_test_patch8_dinov3"])
def test_images_that_are_not_square_and_many_patches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vit = ViT(load_size(name), image_size=(32, 48)).eval()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.inference_mode():
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
    with torch.inference_mode():
        view: View = view_block(vit, images(32, 32).double(), 1)
    values, out = seen[0]
    expected = torch.einsum("bhn,bhnd->bhd", view.attention.flatten(2), values)
    torch.testing.assert_close(expected, out.mean(dim=2), rtol=0, atol=1e-10)
    assert float(view.own.abs().max()) == 0


def test_windows_are_refused() -> None:
    vit = ViT(load_size("vit_test_patch8"), image_size=(32, 32), class_token=False, window=2, global_blocks=[2]).eval()
    with torch.inference_mode():
        assert view_block(vit, images(32, 32), 2).attention.shape == (2, 2, 4, 4)
        with pytest.raises(UserError, match="block 0 attends in windows, expected to the whole image"):
            view_block(vit, images(32, 32), 0)
