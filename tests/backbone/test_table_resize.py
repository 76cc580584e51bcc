"""Relative tables for another grid: BEiT's steps with scipy's spline on them, and what must not change."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RectBivariateSpline, make_interp_spline  # type: ignore[import-untyped]

from maekit.backbone.table_resize import resize_bias_table

pytestmark = pytest.mark.numeric

CLOSE = 2e-3  # BEiT knows the ratio to 1e-6, which moves the farthest of 13 places by 2e-4
CASES = [((14, 14), (32, 32)), ((14, 14), (7, 7)), ((4, 4), (4, 7)), ((6, 4), (5, 9)), ((3, 3), (8, 2))]


def steps(old: int, new: int) -> np.ndarray:
    """The places of the old shifts, by the root of the sum of powers that BEiT looks for, within its bounds."""
    if old == new:
        return np.arange(-(old // 2), old // 2 + 1.0)
    powers = np.ones(old // 2)
    powers[-1] -= new // 2  # r^(n-1) + ... + r + 1 - new // 2
    real = [root.real for root in np.roots(powers) if abs(root.imag) < 1e-9 and root.real > 0]
    ratio = min(max(real[0] if real else 1.01, 1.01), 1.5)
    places = np.cumsum(ratio ** np.arange(old // 2))
    return np.concatenate([-places[::-1], [0.0], places])


@pytest.mark.parametrize(("old", "new"), CASES)
def test_it_is_scipys_spline_on_beits_steps(old: tuple[int, int], new: tuple[int, int]) -> None:
    lengths = [(2 * a - 1, 2 * b - 1) for a, b in zip(old, new, strict=True)]
    generator = torch.Generator().manual_seed(5)
    table = torch.randn(lengths[0][0] * lengths[1][0] + 3, 2, generator=generator, dtype=torch.float64)
    found = resize_bias_table(table, old, new)
    places = [steps(*each) for each in lengths]
    wanted = [np.arange(-(length // 2), length // 2 + 1.0) for _, length in lengths]
    for head in range(2):
        values = table[:-3, head].reshape(lengths[0][0], lengths[1][0]).numpy()
        expected = RectBivariateSpline(*places, values, kx=3, ky=3, s=0)(*wanted)
        np.testing.assert_allclose(found[:-3, head].numpy().reshape(expected.shape), expected, atol=CLOSE)
    assert torch.equal(found[-3:], table[-3:])


def test_one_axis_is_a_spline_whatever_the_other_does() -> None:
    table = torch.randn(7 * 7, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    found = resize_bias_table(table, (4, 4), (4, 6)).reshape(7, 11)
    expected = make_interp_spline(steps(7, 11), table.reshape(7, 7).numpy(), 3, axis=1)(
        np.arange(-5, 6.0).clip(-4.75, 4.75)
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=CLOSE)


def test_the_same_grid_and_the_type_are_kept() -> None:
    table = torch.randn(5 * 5 + 3, 2)
    assert resize_bias_table(table, (3, 3), (3, 3)) is table
    half = resize_bias_table(table.half(), (3, 3), (5, 4))
    assert half.dtype == torch.float16
    assert half.shape == (9 * 7 + 3, 2)
    flat = resize_bias_table(torch.ones(5 * 5, 2), (3, 3), (9, 2))
    torch.testing.assert_close(flat, torch.ones(17 * 3, 2))
