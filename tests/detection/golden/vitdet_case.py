"""The small ViTDet whose features are in vitdet_arrays.npz: its numbers, weights and images, the same everywhere."""

import zlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

EMBED_DIM, NUM_BLOCKS, NUM_HEADS, PATCH = 48, 3, 2, 16
WINDOW, GLOBAL_BLOCK = 3, 1
IMAGE_SIDE, STORED_SIDE, CHANNELS = 128, 64, 8  # pixels of the tables of the global block and of the positions
IMAGES = {"whole": (128, 128), "odd": (80, 112)}  # the second has 5x7 patches: padded windows, interpolated tables
LEVELS = ("p2", "p3", "p4", "p5", "p6")


def weight(name: str, shape: Iterable[int]) -> Tensor:
    """What the tensor of detectron2's name holds: far from any initialisation, so that a mix-up shows."""
    sizes = tuple(shape)
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    draws: Tensor = torch.from_numpy(generator.standard_normal(sizes, dtype=np.float32))
    if "rel_pos" in name or name.endswith("pos_embed"):
        return draws * 0.5
    if len(sizes) > 1:
        return draws * float(1.4 / draws[0].numel() ** 0.5)
    return draws * 0.1 + float("norm" in name and name.endswith("weight"))


def drawn(what: str, *shape: int) -> Tensor:
    """An image, or the gradient of a map, by name, [C, h, w]."""
    image: Tensor = weight(f"{what}.", (1, *shape))[0]
    return image
