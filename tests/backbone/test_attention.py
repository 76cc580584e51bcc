import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone import attention
from maekit.backbone.attention import (
    Attention,
    Grid,
    Plain,
    attend_written_out,
    partition,
    unpartition,
)
from tests.numeric import assert_float64, assert_half

pytestmark = pytest.mark.numeric


def _tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _attention(dim: int = 24, heads: int = 3) -> Attention:
    torch.manual_seed(1)
    return Attention(dim, heads, Plain())


@pytest.mark.usefixtures("float64")
def test_attention_equals_torchs_multihead_attention() -> None:
    ours = _attention()
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    tokens, gradient = _tokens(2, 7, 24), torch.arange(2 * 7 * 24.0).view(2, 7, 24) / 100
    mine, other = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()
    out = ours(mine, (1, 7))
    expected, _ = theirs(other, other, other, need_weights=False)
    out.backward(gradient)
    expected.backward(gradient)
    assert_float64(out, expected)
    assert_float64(mine.grad, other.grad)
    assert_float64(ours.qkv.weight.grad, theirs.in_proj_weight.grad)


@pytest.mark.usefixtures("float64")
def test_written_out_attention_equals_the_fused_kernel_with_gradients() -> None:
    q, k, v = (_tokens(2, 3, 11, 8).double().add(i).requires_grad_() for i in range(3))
    results = []
    for attend in (attend_written_out, F.scaled_dot_product_attention):
        out = attend(q, k, v)
        results.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    assert_float64(results[0], results[1])


@pytest.mark.parametrize(
    ("dtype", "length", "fast_products", "written_out"),
    [
        (torch.bfloat16, 197, True, True),
        (torch.bfloat16, 1025, True, False),
        (torch.bfloat16, 197, False, False),
        (torch.float32, 197, True, False),
    ],
)
def test_plain_writes_attention_out_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, length: int, fast_products: bool, written_out: bool
) -> None:
    monkeypatch.setattr(attention, "FAST_BF16_PRODUCTS", fast_products)
    calls: list[str] = []
    fused = F.scaled_dot_product_attention

    def counted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append("fused")
        return fused(q, k, v)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    q, k, v = (_tokens(1, 1, length, 8).add(i / 10).to(dtype) for i in range(3))
    out = Plain()(q, k, v, (1, length))
    assert calls == ([] if written_out else ["fused"])
    if written_out:
        assert_half(out, fused(q.float(), k.float(), v.float()))
    else:
        torch.testing.assert_close(out, fused(q, k, v), rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
def test_a_position_module_takes_the_place_of_plain_and_sees_the_grid_of_its_window() -> None:
    seen: list[tuple[torch.Size, Grid]] = []

    class Nothing(nn.Module):
        """Attends to nothing but itself."""

        def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
            seen.append((q.shape, grid))
            return v

    module = Attention(24, 3, Nothing())
    tokens = _tokens(2, 12, 24)
    values = F.linear(tokens, module.qkv.weight[48:], module.qkv.bias[48:])
    assert_float64(module(tokens, (3, 4)), module.proj(values))
    module(tokens, (3, 4), 2)
    assert seen == [((2, 3, 12, 8), (3, 4)), ((8, 3, 4, 8), (2, 2))]


@pytest.mark.parametrize(("grid", "window"), [((4, 6), 2), ((5, 7), 3), ((3, 3), 4), ((1, 5), 2)])
def test_partition_equals_slicing_a_padded_image_and_unpartition_undoes_it(grid: Grid, window: int) -> None:
    tokens = _tokens(2, grid[0] * grid[1], 5)
    height, width = (-(-side // window) * window for side in grid)
    image = torch.zeros(2, height, width, 5)
    image[:, : grid[0], : grid[1]] = tokens.view(2, *grid, 5)
    expected = [
        image[b, y : y + window, x : x + window].reshape(window * window, 5)
        for b in range(2)
        for y in range(0, height, window)
        for x in range(0, width, window)
    ]
    windows = partition(tokens, grid, window)
    torch.testing.assert_close(windows, torch.stack(expected), rtol=0, atol=0)
    torch.testing.assert_close(unpartition(windows, grid, window), tokens, rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
def test_windows_attend_to_themselves_and_their_zero_padding_only() -> None:
    module, grid = _attention(), (4, 5)
    tokens = _tokens(1, 20, 24)
    image = F.pad(tokens.view(1, 4, 5, 24), (0, 0, 0, 1, 0, 2))
    expected = torch.zeros(1, 6, 6, 24)
    for y in (0, 3):
        for x in (0, 3):
            window = image[:, y : y + 3, x : x + 3].reshape(1, 9, 24)
            expected[:, y : y + 3, x : x + 3] = module(window, (3, 3)).view(1, 3, 3, 24)
    out = module(tokens, grid, 3)
    assert_float64(out, expected[:, :4, :5].reshape(1, 20, 24))


@pytest.mark.usefixtures("float64")
def test_a_window_equal_to_the_grid_is_global_attention_and_a_larger_one_is_not() -> None:
    module, grid, tokens = _attention(), (4, 4), _tokens(2, 16, 24)
    everywhere = module(tokens, grid)
    assert_float64(module(tokens, grid, 4), everywhere)
    assert (module(tokens, grid, 5) - everywhere).abs().max() > 1e-3
