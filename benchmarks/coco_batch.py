"""A made training batch of COCO's recipes: noise at 1024 px with objects of all sizes."""

import math

import numpy as np
import torch

from maekit.detection.data.batch import DetBatch, InstanceMask

CLASSES, OBJECTS = 80, 20
SIDE = 1024  # pixels, of the recipes


def make_batch(batch: int, side: int = SIDE, classes: int = CLASSES) -> DetBatch:
    """Images of noise, each with 20 octagons of 16 to 512 px a side (of 1024, else in proportion) as polygons."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((batch, 3, side, side), dtype=np.float32))
    boxes, masks = [], []
    for _ in range(batch):
        sides = np.exp(rng.uniform(math.log(side / 64), math.log(side / 2), (OBJECTS, 2)))
        corners = rng.uniform(0, side - sides)
        boxes.append(torch.from_numpy(np.concatenate([corners, corners + sides], 1)).float())
        masks.append([InstanceMask((octagon(*one),), None) for one in zip(corners, sides, strict=True)])
    labels = [torch.from_numpy(rng.integers(classes, size=OBJECTS)) for _ in range(batch)]
    return DetBatch(images, torch.full((batch, 2), side), boxes, labels, masks, torch.arange(batch))


def octagon(corner: np.ndarray, side: np.ndarray) -> np.ndarray:
    """A polygon [16], x0 y0 x1 y1 ..., that touches the four sides of its box."""
    angle = (np.arange(8) + 0.5) * math.pi / 4
    around = np.stack([np.cos(angle), np.sin(angle)], 1) / math.cos(math.pi / 8)
    return (corner + side * (around + 1) / 2).ravel()
