"""What is shown of a model: scores and pictures of images, and what `maekit predict` writes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from PIL.Image import Image

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.tile_options import TileOptions


class Judged(NamedTuple):
    """What a model makes of one image.

    Attributes:
        score: in the unit of `Shown.score`; an image whose score is not finite is no example.
        caption: a line with the score and what it is of, for people.
    """

    score: float
    caption: str


class Sample(Protocol):
    """One image on its way through a predictor."""

    @property
    def picture(self) -> Image:
        """The image that people see: upright, RGB, of no more pixels than its drawing needs."""


class Predictor(Protocol):
    """Turns images into predictions, and writes none: a checkpoint's model, an exported one, or one on tiles.

    A prediction is a small frozen value of the family's `predictions.py`, in the CPU's memory and at the file's size.
    """

    def prepare(self, image: Any) -> Any:
        """Returns the `Sample` of one upright image of any size: PIL's in RGB, or of bands a tensor [H, W, C]."""

    def predict(self, samples: Sequence[Any], device: torch.device) -> Iterable[Any]:
        """Gives one prediction a sample, in turn; a model of torch is on `device`.

        Large predictions are made one at a time as they are asked for, so that the caller needs the memory of one.
        """


class TiledPredictor(Protocol):
    """Predicts images that are larger than memory, of which it reads a part at a time."""

    @property
    def words(self) -> str:
        """How it looks at an image: the size of tiles or windows, what they share, the scale."""

    def predict(self, image: Any, folder: Path, device: torch.device) -> AbstractContextManager[tuple[Image, Any]]:
        """Gives, for the time of a `with`, a picture and the prediction of one image.

        Args:
            image: an open `tiles.TiledImage`.
            folder: on whose disk the prediction may be kept meanwhile.
            device: of the model.

        Raises:
            UserError: the image cannot be read to its end.
            OSError: the disk of the folder is full.
        """


class PredictionWriter(Protocol):
    """Writes predictions into a folder, and knows no model.

    Attributes:
        writes_images: whether what it writes would be taken for images by a command that is given the folder.
    """

    writes_images: bool

    def write(self, file: Path, picture: Image, prediction: Any) -> None:
        """Keeps the prediction of the next file; `picture` is its sample's, which may be changed afterwards."""

    def close(self) -> Path:
        """Finishes the files, and returns the folder or the file that was written."""


class Shown(ABC):
    """What is shown of one model, which `TransferModel.shown` gives: at least its predictions.

    A task whose `score` is not None implements `judge` and `example_picture`: the run then keeps pictures of the images
    with the best and the worst scores. Everything runs on the device that the model is on.

    Attributes:
        score: name of the score of single images, and whether low or high is good; None to show no examples.
    """

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = None

    @abstractmethod
    def predictor(self, input: Mapping[str, Any]) -> Predictor:
        """Returns what predicts images; `input` are the values of the data's `input_transform()`."""

    def tiled_predictor(self, input: Mapping[str, Any], options: TileOptions) -> TiledPredictor | None:
        """Returns what predicts images larger than memory; None for a task that gives one result an image.

        Raises:
            UserError: an option does not fit the model.
        """
        return None

    @abstractmethod
    def prediction_writer(self, folder: Path, options: PredictOptions) -> PredictionWriter:
        """Returns what writes such predictions into a folder."""

    def picture(self, data: RunData) -> Image | None:
        """Returns what the model makes of a few fixed validation images, if a task shows such a thing."""
        return None

    def training_picture(self, data: RunData, seed: int) -> Image | None:
        """Returns a few training images as the first epoch has them, with their labels, if a task shows such a thing.

        Nothing is drawn at random but by the data's own (seed, epoch, index).

        Args:
            data: set up.
            seed: the run's.
        """
        return None

    def judge(self, batch: Any) -> list[Judged]:
        """Scores each image of an evaluated batch; it asks no other process, and draws nothing at random."""
        raise NotImplementedError(f"{type(self).__name__} has a score, and no judge(batch)")

    def judged(self, rows: Sequence[Mapping[str, str]]) -> dict[int, Judged] | None:
        """Scores images by what an evaluation has found of each, so that none is evaluated again.

        Args:
            rows: of `image_scores.csv`, by its columns.

        Returns:
            The scores by place in the listing; None for a task whose rows do not hold them.
        """
        return None

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns what there is to see of one validation image, by its place in the listing from 0."""
        raise NotImplementedError(f"{type(self).__name__} has a score, and no example_picture(data, index)")


def evenly_spread(count: int, most: int) -> list[int]:
    """Returns up to `most` of the places 0 to count - 1, evenly spread."""
    chosen = min(count, most)
    return [number * count // chosen for number in range(chosen)]
