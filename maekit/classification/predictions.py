"""What is predicted of a whole image: classes, labels, values or a grade."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maekit.data.images.transforms import EvalTransform
from maekit.drawing.sheet import SIDE

Prediction = TypeVar("Prediction")


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The probabilities of an image's classes, float32 [C], whose sum is 1."""

    probabilities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelScores:
    """The probability of each of an image's labels, float32 [L], independent of each other."""

    probabilities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImageValues:
    """An image's values in the unit of the data, float32 [V]."""

    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImageGrade:
    """An image's grade, 0 to K-1.

    Attributes:
        grade: the one that the thresholds give, which need not be the most probable one.
        probabilities: float32 [K].
    """

    grade: int
    probabilities: NDArray[np.float32]


class ImageSample(NamedTuple):
    """An image on its way through a model: its input [C, H, W], and a small picture of it."""

    pixels: Tensor
    picture: Image.Image


class ImagePredictor(Generic[Prediction]):
    """Predicts whole images a batch at a time.

    Args:
        transform: image as read to the model's input.
        predict: inputs [B, C, H, W] on the device to one prediction each.
    """

    def __init__(self, transform: EvalTransform, predict: Callable[[Tensor], Sequence[Prediction]]) -> None:
        self.transform, self.of_batch = transform, predict

    def prepare(self, image: Any) -> ImageSample:
        """Returns the model's input of an image, and a picture of it no larger than twice a contact sheet's tile."""
        pixels = self.transform(image)
        picture = self.transform.normalise.picture(image)
        picture.thumbnail((2 * SIDE, 2 * SIDE))
        return ImageSample(pixels, picture)

    def predict(self, samples: Sequence[ImageSample], device: torch.device) -> Sequence[Prediction]:
        """Returns the prediction of each sample."""
        pixels = torch.stack([sample.pixels for sample in samples])
        return self.of_batch(pixels.to(device, non_blocking=True))


def on_host(values: Tensor) -> NDArray[np.float32]:
    """Returns values of any device and floating type as an array, float32."""
    return values.detach().float().cpu().numpy()
