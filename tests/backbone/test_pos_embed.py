import math

import numpy as np
import pytest
import torch

from maekit.backbone.pos_embed import patch_grid, resize_pos_embed, sincos_pos_embed
from maekit.errors import UserError
from tests.backbone.helpers import bicubic_matrix, resized_by_matrices
from tests.numeric import assert_fp32, assert_fp32_function

pytestmark = pytest.mark.numeric


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (1, 7)])
def test_sincos_table_equals_the_formula_written_as_loops(grid: tuple[int, int], class_token: bool) -> None:
    dim = 24
    rows = [[0.0] * dim] if class_token else []
    for y in range(grid[0]):
        for x in range(grid[1]):
            row: list[float] = []
            for place in (x, y):
                angles = [place / 10000 ** (k / (dim / 4)) for k in range(dim // 4)]
                row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            rows.append(row)
    assert_fp32(sincos_pos_embed(dim, grid, class_token), torch.tensor([rows]))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("new", [(7, 3), (2, 9), (4, 5)])
def test_resizing_equals_bicubic_interpolation_by_matrices(new: tuple[int, int], prefix: int) -> None:
    old = (4, 6)
    table = torch.randn(1, prefix + 24, 8, generator=torch.Generator().manual_seed(0))
    ours = resize_pos_embed(table, old, new, prefix)
    assert ours.shape == (1, prefix + new[0] * new[1], 8)
    expected = resized_by_matrices(table, old, new, prefix)
    assert_fp32_function(lambda values: resize_pos_embed(values, old, new, prefix), [table], expected)
    torch.testing.assert_close(ours[:, :prefix], table[:, :prefix], rtol=0, atol=0)


def test_resizing_to_the_same_grid_is_identity() -> None:
    table = torch.randn(1, 13, 8)
    assert resize_pos_embed(table, (3, 4), (3, 4), 1) is table


def test_resizing_keeps_the_dtype_and_computes_in_float32() -> None:
    table = torch.randn(1, 17, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    half = resize_pos_embed(table, (4, 4), (7, 7), 1)
    full = resize_pos_embed(table.float(), (4, 4), (7, 7), 1)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, full.bfloat16(), rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
def test_resizing_passes_gradients_to_the_stored_table() -> None:
    table = torch.randn(1, 5, 8).requires_grad_()
    torch.autograd.backward(resize_pos_embed(table, (2, 2), (3, 5), 1).sum())
    expected = np.outer(bicubic_matrix(2, 3).sum(0), bicubic_matrix(2, 5).sum(0)).reshape(-1)
    assert table.grad is not None
    assert_fp32(table.grad[0, 1:, 3], torch.from_numpy(expected))
    torch.testing.assert_close(table.grad[0, 0], torch.ones(8), rtol=0, atol=0)


def test_patch_grid_counts_rows_and_columns() -> None:
    assert patch_grid(224, 448, 16) == (14, 28)


@pytest.mark.parametrize(
    ("image", "nearest"),
    [
        ((225, 224), "224x224, 240x224"),
        ((230, 100), "224x96, 224x112, 240x96, 240x112"),
        ((3, 16), "16x16"),
        ((0, 16), "16x16"),
    ],
)
def test_a_side_that_is_no_multiple_of_the_patch_is_refused(image: tuple[int, int], nearest: str) -> None:
    with pytest.raises(UserError) as caught:
        patch_grid(*image, 16)
    message = str(caught.value)
    assert f"got an image of {image[0]}x{image[1]} pixels" in message
    assert "patch size 16" in message
    assert message.endswith(f": {nearest}")
