"""Photometric distortion of 8-bit colours, as SSD introduced it and the published ADE20K recipes use it."""

import random
from typing import NamedTuple

import cv2
import numpy as np

# The defaults of mmsegmentation's PhotoMetricDistortion, which every published recipe uses.
BRIGHTNESS = 32
FACTORS = (0.5, 1.5)
HUE = 18
HUES = 180  # OpenCV's 8-bit hue counts steps of two degrees


class Distortion(NamedTuple):
    """The random numbers of one distortion; a step that is None is left out.

    Attributes:
        brightness: added to every channel, in -32..32 of 255.
        contrast: factor on every channel, in 0.5..1.5.
        contrast_first: before saturation and hue, not after them.
        saturation: factor, in 0.5..1.5.
        hue: steps of two degrees, in -18..17.
    """

    brightness: float | None
    contrast: float | None
    contrast_first: bool
    saturation: float | None
    hue: int | None


def draw_distortion(rng: random.Random) -> Distortion:
    """Draws each step with probability 0.5, and whether contrast comes first or last."""
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.randrange(2) else None
    contrast_first = rng.randrange(2) == 1
    early = _factor(rng) if contrast_first else None
    saturation = _factor(rng)
    hue = rng.randrange(-HUE, HUE) if rng.randrange(2) else None
    late = None if contrast_first else _factor(rng)
    return Distortion(brightness, early if contrast_first else late, contrast_first, saturation, hue)


def distort(image: np.ndarray, drawn: Distortion) -> np.ndarray:
    """Returns RGB [H, W, 3] uint8, distorted; every step clips to 0..255 and drops the fraction.

    A step looks each value up in a table of 256 entries, which is filled with the float32 arithmetic of one pixel: the
    same values, faster. Saturation and hue each convert to 8-bit HSV and back, since the published code rounds there.
    """
    if drawn.brightness is not None:
        image = _look_up(image, _table(1.0, drawn.brightness))
    if drawn.contrast is not None and drawn.contrast_first:
        image = _look_up(image, _table(drawn.contrast, 0.0))
    if drawn.saturation is not None:
        image = _through_hsv(image, 1, _table(drawn.saturation, 0.0))
    if drawn.hue is not None:
        image = _through_hsv(image, 0, ((np.arange(256) + drawn.hue) % HUES).astype(np.uint8))
    if drawn.contrast is not None and not drawn.contrast_first:
        image = _look_up(image, _table(drawn.contrast, 0.0))
    return image


def _factor(rng: random.Random) -> float | None:
    return rng.uniform(*FACTORS) if rng.randrange(2) else None


def _table(factor: float, shift: float) -> np.ndarray:
    """Returns [256] uint8: each value times a factor plus a shift."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(shift)
    return np.asarray(values.clip(0, 255), dtype=np.uint8)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.LUT(image, table))


def _through_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    hsv[:, :, channel] = table[hsv[:, :, channel]]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
