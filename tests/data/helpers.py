"""Photographs as PIL images and as pixels."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from maekit.data.images.transforms import BICUBIC

PHOTOGRAPHS = [Image.fromarray(pixels) for pixels in load_sample_images().images]
COLOURS = PHOTOGRAPHS[0].resize((60, 40), BICUBIC)


def as_pixels(image: Image.Image) -> Tensor:
    """Returns [H, W, 3] uint8."""
    return torch.from_numpy(np.array(image))
