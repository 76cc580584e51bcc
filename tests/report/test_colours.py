"""The colours of pages and charts, read from their style sheet: contrast, and ramps that read without colour."""

import re

import pytest

from maekit.report.charts.charts import CHART_STYLE

NUM_LEVELS, NUM_SERIES = 21, 8
LIGHT, DARK = (
    dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", root)) for root in re.findall(r":root\{(.*?)\}", CHART_STYLE, re.DOTALL)
)


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb`, 0 (black) to 1 (white), as WCAG 2 defines it."""
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_read_without_colour_and_on_their_paper(palette: dict[str, str]) -> None:
    ramp = [luminance(palette[f"h{level}"]) for level in range(NUM_LEVELS)]
    assert ramp in (sorted(ramp), sorted(ramp, reverse=True))
    assert len(set(ramp)) == NUM_LEVELS
    assert all(contrast(palette[f"s{index}"], palette["paper"]) >= 3 for index in range(NUM_SERIES))
    for ink in ("ink", "soft", "accent"):
        for ground in ("page", "paper", "wash"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
    assert all(contrast(palette[f"t{level}"], palette[f"h{level}"]) >= 4.5 for level in range(NUM_LEVELS))


def test_light_and_dark_name_the_same_colours() -> None:
    assert set(LIGHT) == set(DARK)
    assert luminance("#ffffff") == pytest.approx(1)
    assert luminance("#777777") == pytest.approx(0.1845, abs=1e-3)
