"""Images for the tests of tiles."""

import numpy as np


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Returns [height, width, channels] uint8 that varies everywhere and compresses as photographs do."""
    rows, columns = np.mgrid[:height, :width]
    shades = []
    for channel in range(channels):
        wave = np.sin(rows / (9 + 3 * channel + seed)) + np.cos(columns / (13 + 2 * channel)) + rows * columns % 7 / 20
        shades.append((wave * 50 + 110).clip(0, 255))
    return np.stack(shades, axis=2).astype(np.uint8)
