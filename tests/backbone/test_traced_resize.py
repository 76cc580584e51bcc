"""Resizing by weights, as exported graphs do it, beside torch's own interpolation."""

import pytest
import torch

from maekit.backbone.pos_embed import resize_pos_embed
from maekit.backbone.sizes import PositionResize
from maekit.backbone.traced_resize import resize_by_weights

pytestmark = pytest.mark.numeric
GRIDS = [(4, 4), (7, 3), (2, 9), (14, 5), (1, 4)]


@pytest.mark.parametrize("how", ["plain", "offset", "antialias"])
@pytest.mark.parametrize("new", GRIDS)
def test_products_with_weights_are_torchs_interpolation(how: PositionResize, new: tuple[int, int]) -> None:
    """Both compute in fp32, with coordinates up to 14 and weights up to 1: a few roundings of either."""
    table = torch.randn(1, 1 + 4 * 5, 6, generator=torch.Generator().manual_seed(0))
    expected = resize_pos_embed(table, (4, 5), new, 1, how)[:, 1:].transpose(1, 2).reshape(1, 6, *new)
    found = resize_by_weights(table[:, 1:].transpose(1, 2).reshape(1, 6, 4, 5), new, how)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["plain", "offset", "antialias"])
def test_the_stored_grid_is_left_as_it_is(how: PositionResize) -> None:
    image = torch.randn(1, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize_by_weights(image, (4, 5), how), image, rtol=0, atol=1e-5)
