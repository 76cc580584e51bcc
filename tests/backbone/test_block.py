import pytest
import torch
from torch import Tensor

from maekit.backbone.block import Block, add_branch


def test_drop_path_drops_whole_samples_at_its_rate_and_scales_the_others() -> None:
    torch.manual_seed(0)
    tokens = torch.zeros(20_000, 2, 3)
    out = add_branch(tokens, torch.ones_like, 0.3)
    kept = out[:, 0, 0] != 0
    torch.testing.assert_close(out, (kept / 0.7)[:, None, None].expand_as(out))
    assert abs(kept.float().mean().item() - 0.7) < 4 * (0.21 / 20_000) ** 0.5


def test_a_dropped_branch_is_not_computed_on_a_cpu() -> None:
    torch.manual_seed(0)
    seen: list[Tensor] = []
    tokens = torch.arange(1.0, 9.0).view(8, 1, 1)

    def branch(given: Tensor) -> Tensor:
        seen.append(given)
        return given

    out = add_branch(tokens, branch, 0.5)
    kept = (out != tokens).flatten()
    assert 0 < kept.sum() < 8
    torch.testing.assert_close(seen, [tokens[kept]], rtol=0, atol=0)


def test_attention_and_mlp_have_draws_of_their_own_and_evaluation_none() -> None:
    block = Block(8, 2, drop_path=0.5, window=0)
    torch.nn.init.zeros_(block.attn.proj.weight)
    torch.nn.init.zeros_(block.mlp.fc2.weight)
    torch.nn.init.constant_(block.attn.proj.bias, 1.0)
    torch.nn.init.constant_(block.mlp.fc2.bias, 10.0)
    tokens = torch.zeros(4000, 1, 8)
    torch.manual_seed(0)
    values, counts = block(tokens, (1, 1))[:, 0, 0].unique(return_counts=True)
    assert values.tolist() == [0.0, 2.0, 20.0, 22.0]
    assert (counts - 1000).abs().max() < 4 * (4000 * 3 / 16) ** 0.5
    assert (block.eval()(tokens, (1, 1)) == 11.0).all()


@pytest.mark.parametrize("window", [0, 2])
def test_a_branch_that_every_sample_drops_still_has_gradients_of_zero(window: int) -> None:
    """DDP waits for a gradient of every parameter."""
    block = Block(8, 2, drop_path=1 - 1e-12, window=window)
    tokens = torch.randn(2, 6, 8, requires_grad=True)
    block(tokens, (2, 3)).sum().backward()
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad, torch.ones_like(tokens), rtol=0, atol=0)
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name
