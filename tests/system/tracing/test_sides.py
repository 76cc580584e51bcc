"""Weights of resizing, as exported graphs compute them, beside torch's own interpolation and pooling."""

import pytest
import torch
import torch.nn.functional as F

from maekit.system.tracing.sides import linear_weights, mean_weights

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(("old", "new"), [(7, 7), (7, 15), (13, 5), (3, 1)])
def test_linear_weights_are_torchs_interpolation(old: int, new: int) -> None:
    table = torch.randn(old, 8, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(table.T[None], size=new, mode="linear")[0].T
    torch.testing.assert_close(linear_weights(old, new, table.device) @ table, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [(7, 3), (6, 6), (2, 6), (1, 3), (33, 6), (16, 1)])
def test_mean_weights_are_torchs_adaptive_pooling(old: int, new: int) -> None:
    line = torch.randn(8, old, generator=torch.Generator().manual_seed(0))
    expected = F.adaptive_avg_pool1d(line[None], new)[0]
    torch.testing.assert_close(line @ mean_weights(old, new, line.device).T, expected, rtol=0, atol=1e-6)
