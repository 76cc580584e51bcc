"""Colours for the classes of label maps."""

import numpy as np

Colour = tuple[int, int, int]
PALETTE_LEVELS = 7


def spread_palette(n: int) -> list[Colour]:
    """Returns n colours, each as far as possible from those before it; a longer list begins with the same colours.

    Args:
        n: 1 to 254.
    """
    levels = np.round(np.linspace(0, 255, PALETTE_LEVELS)).astype(np.int64)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    reserved = np.array([[0, 0, 0], [255, 255, 255]])  # the colours of text
    far = ((grid[:, None] - reserved) ** 2).sum(axis=2).min(axis=1)
    chosen = []
    for _ in range(n):
        pick = int(far.argmax())
        chosen.append(pick)
        far = np.minimum(far, ((grid - grid[pick]) ** 2).sum(axis=1))
    return [(int(r), int(g), int(b)) for r, g, b in grid[chosen]]
