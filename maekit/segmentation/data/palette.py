"""Colours for the classes of label maps."""

import numpy as np

Colour = tuple[int, int, int]
PALETTE_LEVELS = 7


def spread_palette(n: int) -> list[Colour]:
    """Returns n colours, each as far from all before it as it can be: the first ones are the first of any longer list.

    Args:
        n: 1 to 254.
    """
    levels = np.round(np.linspace(0, 255, PALETTE_LEVELS)).astype(np.int64)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    far = (
        ((grid[:, None] - np.array([[0, 0, 0], [255, 255, 255]])) ** 2).sum(axis=2).min(axis=1)
    )  # text is black, white
    chosen = []
    for _ in range(n):
        pick = int(far.argmax())
        chosen.append(pick)
        far = np.minimum(far, ((grid - grid[pick]) ** 2).sum(axis=1))
    return [(int(r), int(g), int(b)) for r, g, b in grid[chosen]]
