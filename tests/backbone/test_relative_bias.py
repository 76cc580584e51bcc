"""Relative position biases: their definition, the class token's rows, gradients, and the backbone that has them."""

from itertools import product

import pytest
import torch
from torch import Tensor

from maekit.backbone.attention import Grid, Plain
from maekit.backbone.pos_embed import resize_patches
from maekit.backbone.relative_bias import TableBias, on_any_grid
from maekit.backbone.sizes import Size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.optim.groups import parameter_rows
from tests.numeric import assert_float64, assert_fp32_function

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("float64")]
TINY = Size("tiny", embed_dim=24, num_blocks=3, num_heads=2, patch_size=8)


def filled(grid: tuple[int, int], class_token: bool = True) -> TableBias:
    module = TableBias(3, grid, num_prefix=int(class_token))
    torch.nn.init.normal_(module.table)
    return module


def by_definition(module: TableBias) -> Tensor:
    """The biases [heads, N, N], place by place."""
    (h, w), table = module.grid, module.table.detach()
    places = [(row, column) for row in range(h) for column in range(w)]
    patches = torch.stack(
        [
            torch.stack([table[(i - k + h - 1) * (2 * w - 1) + j - m + w - 1] for k, m in places], dim=1)
            for i, j in places
        ],
        dim=1,
    )
    if not module.num_prefix:
        return patches
    whole = torch.empty(3, h * w + 1, h * w + 1)
    whole[:, 0, :], whole[:, :, 0], whole[:, 0, 0] = table[-3][:, None], table[-2][:, None], table[-1]
    whole[:, 1:, 1:] = patches
    return whole


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 2), (4, 4)])
def test_each_bias_is_that_of_its_shift(grid: tuple[int, int], class_token: bool) -> None:
    module = filled(grid, class_token)
    torch.testing.assert_close(module.bias(), by_definition(module), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_attention_is_softmax_of_scores_and_bias(training: bool) -> None:
    module = filled((3, 4))
    q, k, v = (torch.randn(2, 3, 13, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / 8**0.5 + by_definition(module)
    expected = scores.softmax(-1) @ v
    with torch.set_grad_enabled(training):
        found = module(q, k, v, (3, 4))
    assert_float64(found, expected)


def test_the_gradient_of_the_table_is_the_sum_over_its_places() -> None:
    module = filled((3, 2))
    weight = torch.randn(3, 7, 7)
    (module.bias() * weight).sum().backward()  # type: ignore[no-untyped-call]
    eps, moved = 1e-2, module.table.detach().clone()
    for row, head in [(0, 0), (7, 1), (14, 2), (15, 0), (16, 1), (17, 2)]:
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                module.table.copy_(moved)
                module.table[row, head] += sign * eps
            ends.append((by_definition(module) * weight).sum())
        assert module.table.grad is not None
        assert_float64(module.table.grad[row, head], (ends[0] - ends[1]) / (2 * eps))  # the sum is linear in the table


def test_zero_tables_and_scales_of_one_leave_the_backbone_as_it_is() -> None:
    torch.manual_seed(0)
    plain = ViT(TINY, image_size=(32, 24), final_norm=False)
    adapted = ViT(TINY, image_size=(32, 24), final_norm=False, relative_position="table", layer_scale=1.0)
    new = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert not new.unexpected_keys
    assert set(new.missing_keys) == {
        f"blocks.{i}.{name}" for i in range(3) for name in ("gamma_1", "gamma_2", "attn.position.table")
    }
    images = torch.randn(2, 3, 32, 24)
    for one, other in zip(plain.features(images, [0, 2]).maps, adapted.features(images, [0, 2]).maps, strict=True):
        assert_float64(one, other)


def test_another_grid_than_the_tables_is_refused() -> None:
    vit = ViT(TINY, image_size=(32, 32), relative_position="table")
    with pytest.raises(UserError, match="got a patch grid of 4x5, expected 4x4, that of the relative position table"):
        vit(torch.zeros(1, 3, 32, 40))


@pytest.mark.parametrize("grid", [(2, 2), (3, 5), (5, 2), (1, 6)], ids=str)
@pytest.mark.parametrize("class_token", [False, True])
def test_on_any_grid_a_shift_beyond_the_table_has_the_farthest_ones_bias(grid: Grid, class_token: bool) -> None:
    own, module = (3, 2), filled((3, 2), class_token)
    with on_any_grid(module), torch.no_grad():
        found = module.bias(grid)
    places = list(product(range(grid[0]), range(grid[1])))
    patches = found[:, int(class_token) :, int(class_token) :]
    for query, key in product(range(len(places)), repeat=2):
        row, column = (
            min(max(one - other, 1 - side), side - 1) + side - 1
            for one, other, side in zip(places[query], places[key], own, strict=True)
        )
        assert torch.equal(patches[:, query, key], module.table[row * (2 * own[1] - 1) + column])
    if class_token:
        as_query, as_key, alone = module.table[-3:]
        assert torch.equal(found[:, 0, 0], alone) and torch.equal(found[:, 0, -1], as_query)
        assert torch.equal(found[:, -1, 0], as_key)
    assert not module.any_grid


def test_windows_and_tables_exclude_each_other() -> None:
    with pytest.raises(UserError, match="got relative_position 'table' with window 2, expected one of the two"):
        ViT(TINY, image_size=(32, 32), class_token=False, window=2, relative_position="table")


def test_what_a_block_has_more_learns_at_the_blocks_rate() -> None:
    vit = ViT(TINY, image_size=(16, 16), final_norm=False, relative_position="table", layer_scale=1.0)
    rows = parameter_rows(vit, vit, lr=1.0, layer_decay=0.5, weight_decay=0.1, no_weight_decay=["1d", "bias"])
    found = {row.name: (row.layer, row.weight_decay) for row in rows}
    assert found["blocks.1.attn.position.table"] == (2, 0.1)
    assert found["blocks.1.gamma_1"] == found["blocks.1.gamma_2"] == (2, 0.0)
    assert found["pos_embed"] == found["cls_token"] == (0, 0.1)


def test_blocks_without_either_attend_plainly() -> None:
    block = ViT(TINY, image_size=(16, 16)).blocks[0]
    assert isinstance(block.get_submodule("attn.position"), Plain)
    assert not [name for name, _ in block.named_parameters() if "gamma" in name]


def cubic_matrix(old: int, new: int) -> Tensor:
    """Rows of weights by which `new` samples are made of `old`: cubic convolution with a = -0.75, edges repeated."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        at = (i + 0.5) * old / new - 0.5
        first = int(at // 1)
        for j in range(first - 1, first + 3):
            x = abs(at - j)
            near = 1.25 * x**3 - 2.25 * x**2 + 1
            far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            matrix[i, min(max(j, 0), old - 1)] += near if x <= 1 else far
    return matrix


def test_patch_filters_are_resized_bicubically() -> None:
    filters = torch.randn(5, 3, 14, 14)
    assert resize_patches(filters, 14) is filters
    matrix = cubic_matrix(14, 16)
    assert_fp32_function(lambda image: resize_patches(image, 16), [filters], matrix @ filters @ matrix.T)
