"""Simple corruptions of a small picture, named after ImageNet-C's 15 and of five severities, for made data.

Each takes [H, W, 3] float64 in 0..1, a severity's strength and a generator, and returns the same shape; values outside
0..1 are clipped afterwards. They are named after ImageNet-C's corruptions and look like them, but have other
parameters, since the pictures are tiny.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float64]
Corruption = Callable[[Pixels, float, np.random.RandomState], Pixels]


def corrupt(pixels: NDArray[np.uint8], corruption: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """Returns [H, W, 3] uint8 of a picture [H, W, 3] uint8.

    Args:
        corruption: one of ImageNet-C's 15.
        severity: 1 to 5.
        seed: draws the noise.
    """
    function, strengths = CORRUPTIONS[corruption]
    result = function(pixels / 255, strengths[severity - 1], np.random.RandomState(seed))
    return np.round(np.clip(result, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(x: Pixels, strength: float, draw: np.random.RandomState) -> Pixels:
    return x + draw.normal(0, strength, x.shape)


def _shot_noise(x: Pixels, photons: float, draw: np.random.RandomState) -> Pixels:
    return draw.poisson(x * photons) / photons + 0.25 / photons * draw.poisson(1.0, x.shape)


def _impulse_noise(x: Pixels, share: float, draw: np.random.RandomState) -> Pixels:
    hit = draw.uniform(size=x.shape) < share
    return np.where(hit, draw.randint(0, 2, x.shape), x)


def _defocus_blur(x: Pixels, radius: float, draw: np.random.RandomState) -> Pixels:
    reach = range(-int(radius) - 1, int(radius) + 2)
    return _mean([_shift(x, dy, dx) for dy in reach for dx in reach if dy**2 + dx**2 <= radius**2])


def _glass_blur(x: Pixels, reach: float, draw: np.random.RandomState) -> Pixels:
    rows, columns = np.indices(x.shape[:2])
    rows, columns = (
        np.clip(place + draw.randint(-int(reach), int(reach) + 1, place.shape), 0, len(x) - 1)
        for place in (rows, columns)
    )
    return _defocus_blur(x[rows, columns], 1.0, draw)


def _motion_blur(x: Pixels, length: float, draw: np.random.RandomState) -> Pixels:
    angle = draw.uniform(0, np.pi)
    steps = np.arange(length) - (length - 1) / 2
    return _mean([_shift(x, round(step * np.sin(angle)), round(step * np.cos(angle))) for step in steps])


def _zoom_blur(x: Pixels, most: float, draw: np.random.RandomState) -> Pixels:
    image, side = _image(x), len(x)
    zoomed = []
    for zoom in np.linspace(1, most, 7):
        margin = (side - side / zoom) / 2
        box = (margin, margin, side - margin, side - margin)
        zoomed.append(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box)) / 255)
    return _mean(zoomed)


def _snow(x: Pixels, share: float, draw: np.random.RandomState) -> Pixels:
    flakes = (draw.uniform(size=x.shape[:2]) < share).astype(float)[..., None]
    return np.asarray(0.85 * x + np.maximum(flakes, 0.7 * _shift(flakes, 1, 1)))


def _frost(x: Pixels, strength: float, draw: np.random.RandomState) -> Pixels:
    ice = _smooth_noise(x.shape[0], 6, draw)[..., None]
    return (1 - 0.6 * strength) * x + strength * np.clip(ice * 2 - 0.7, 0, 1)


def _fog(x: Pixels, strength: float, draw: np.random.RandomState) -> Pixels:
    mist = 0.5 + 0.5 * _smooth_noise(x.shape[0], 3, draw)[..., None]
    return (1 - strength) * x + strength * mist


def _brightness(x: Pixels, added: float, draw: np.random.RandomState) -> Pixels:
    return x + added


def _contrast(x: Pixels, kept: float, draw: np.random.RandomState) -> Pixels:
    return np.asarray((x - x.mean()) * kept + x.mean())


def _elastic_transform(x: Pixels, pixels: float, draw: np.random.RandomState) -> Pixels:
    place = np.indices(x.shape[:2]).astype(float)
    moved = [axis + pixels * (2 * _smooth_noise(len(x), 5, draw) - 1) for axis in place]
    rows, columns = (np.clip(np.round(axis), 0, len(x) - 1).astype(int) for axis in moved)
    return np.asarray(x[rows, columns])


def _pixelate(x: Pixels, side: float, draw: np.random.RandomState) -> Pixels:
    small = _image(x).resize((int(side), int(side)), Image.Resampling.BOX)
    return np.asarray(small.resize((x.shape[1], x.shape[0]), Image.Resampling.NEAREST)) / 255


def _jpeg_compression(x: Pixels, quality: float, draw: np.random.RandomState) -> Pixels:
    file = io.BytesIO()
    _image(x).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file).convert("RGB")) / 255


def _image(x: Pixels) -> Image.Image:
    return Image.fromarray(np.round(np.clip(x, 0, 1) * 255).astype(np.uint8))


def _mean(pictures: list[Pixels]) -> Pixels:
    return np.asarray(np.mean(pictures, axis=0))


def _shift(x: Pixels, down: int, right: int) -> Pixels:
    """Shifts a picture by pixels and repeats its border where it uncovers pixels."""
    rows, columns = (np.clip(np.arange(n) - by, 0, n - 1) for n, by in zip(x.shape, (down, right), strict=False))
    return np.asarray(x[np.ix_(rows, columns)])


def _smooth_noise(side: int, cells: int, draw: np.random.RandomState) -> Pixels:
    """Returns [side, side] in 0..1, smooth over `cells` cells."""
    coarse = Image.fromarray(draw.randint(0, 256, (cells, cells)).astype(np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / 255


# Strengths of severities 1 to 5: chosen by eye on digits of 32 pixels.
CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.12, 0.2, 0.3, 0.42, 0.6)),
    "shot_noise": (_shot_noise, (20, 10, 5, 3, 1.5)),
    "impulse_noise": (_impulse_noise, (0.05, 0.1, 0.18, 0.28, 0.4)),
    "defocus_blur": (_defocus_blur, (1.0, 2.0, 3.0, 4.0, 5.5)),
    "glass_blur": (_glass_blur, (1, 2, 3, 4, 6)),
    "motion_blur": (_motion_blur, (5, 7, 10, 13, 17)),
    "zoom_blur": (_zoom_blur, (1.2, 1.4, 1.6, 1.9, 2.3)),
    "snow": (_snow, (0.04, 0.08, 0.14, 0.2, 0.28)),
    "frost": (_frost, (0.4, 0.6, 0.8, 0.95, 1.1)),
    "fog": (_fog, (0.3, 0.45, 0.6, 0.72, 0.82)),
    "brightness": (_brightness, (0.1, 0.2, 0.35, 0.5, 0.7)),
    "contrast": (_contrast, (0.5, 0.35, 0.22, 0.12, 0.06)),
    "elastic_transform": (_elastic_transform, (3, 5, 7, 9, 12)),
    "pixelate": (_pixelate, (14, 11, 8, 6, 4)),
    "jpeg_compression": (_jpeg_compression, (30, 18, 10, 6, 2)),
}
