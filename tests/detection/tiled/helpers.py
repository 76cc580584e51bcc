"""Scenes of handwritten digits on the seams of tiles, and a detector that sees what is in a tile and no more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from maekit.data.images.decode import Reading
from maekit.detection.metrics.coco_masks import CocoResults, decode_masks, encode_masks
from maekit.detection.predictions import FoundObjects
from maekit.detection.tiled.predictor import TiledDetector
from maekit.detection.tiled.views import overlaps
from maekit.system.size import HeightWidth
from maekit.tiles.open import open_tiled
from maekit.tiles.region import tiles

NUM_CLASSES = 10
SURE = 0.4  # what is found twice on purpose has a lower score


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture whose objects have a colour each: red is the object's number, green its class + 1."""

    picture: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def mask(self, number: int) -> np.ndarray:
        return np.asarray(self.picture[..., 0] == number + 1)


def scene(seed: int, size: HeightWidth, tile: int, overlap: int, sides: tuple[int, int], count: int = 12) -> Scene:
    """Returns a scene whose digits have sides of so many pixels and lie on edges and corners of tiles."""
    draw = np.random.default_rng(seed)
    images, classes = load_digits(return_X_y=True)
    places = tiles(size, tile, overlap)
    picture = np.zeros((*size, 3), dtype=np.uint8)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(count * 4):
        chosen, side = int(draw.integers(len(images))), int(draw.integers(sides[0], sides[1] + 1))
        small = Image.fromarray(images[chosen].reshape(8, 8).astype(np.uint8) * 15).resize((side, side))
        shape = np.asarray(small) > 90
        region = places[int(draw.integers(len(places)))]
        row, column = int(draw.choice([region.top, region.bottom])), int(draw.choice([region.left, region.right]))
        if draw.random() < 0.6:  # on one edge, not in a corner
            row, column = (
                (row, int(draw.integers(size.width)))
                if draw.random() < 0.5
                else (int(draw.integers(size.height)), column)
            )
        top, left = row - int(draw.integers(side + 1)), column - int(draw.integers(side + 1))
        if min(top, left) < 1 or top + side >= size.height or left + side >= size.width:
            continue  # an object on the image's own edge is seen no better by any tile
        part = picture[top : top + side, left : left + side]
        if part.any() or len(boxes) == count:
            continue
        part[shape] = (len(boxes) + 1, int(classes[chosen]) + 1, 0)
        rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
        boxes.append((left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1))
        labels.append(int(classes[chosen]))
    return Scene(picture, np.array(boxes, dtype=float).reshape(-1, 4), np.array(labels, dtype=np.int64))


@dataclass
class Seen:
    """A tile on its way through the detector."""

    picture: Image.Image
    pixels: np.ndarray


@dataclass
class Detector:
    """Finds each coloured object of at least `least` pixels, its box off by up to `jitter` pixels, as detectors are.

    What touches an edge of the picture is less sure, and a share `mistaken` of it is taken for another class. A third
    of all objects is found a second time, of another class and with a score below `SURE`.
    """

    jitter: float = 1.0
    mistaken: float = 0.5
    least: int = 12
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def prepare(self, image: Any) -> Seen:
        return Seen(image, np.asarray(image))

    def predict(self, samples: Sequence[Any], device: torch.device) -> Iterator[FoundObjects]:
        for sample in samples:
            yield FoundObjects(HeightWidth(*sample.pixels.shape[:2]), self._found(sample.pixels))

    def _found(self, pixels: np.ndarray) -> CocoResults:
        boxes, scores, labels, masks = [], [], [], []
        height, width = pixels.shape[:2]
        for number in np.unique(pixels[..., 0])[1:].tolist():
            mask = pixels[..., 0] == number
            if mask.sum() < self.least:
                continue
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            tight = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
            label = int(pixels[rows[0], np.flatnonzero(mask[rows[0]])[0], 1]) - 1
            touches = rows[0] == 0 or columns[0] == 0 or rows[-1] == height - 1 or columns[-1] == width - 1
            score = self.draw.uniform(0.5, 0.8) if touches else self.draw.uniform(0.7, 1)
            label = (label + 1) % NUM_CLASSES if touches and self.draw.random() < self.mistaken else label
            found = [(label, score)]
            if self.draw.random() < 1 / 3:
                found.append(((label + 3) % NUM_CLASSES, self.draw.uniform(0.05, SURE - 0.01)))
            for one, sure in found:
                box = np.clip(tight + self.draw.uniform(-self.jitter, self.jitter, 4), 0, [width, height] * 2)
                boxes.append(np.concatenate([box[:2], np.maximum(box[2:], box[:2] + 0.5)]))
                scores.append(sure)
                labels.append(one)
                masks.append(mask)
        shapes = np.array(masks, dtype=bool).reshape(-1, height, width)
        return CocoResults(
            np.array(boxes).reshape(-1, 4), np.array(scores), np.array(labels, dtype=np.int64), encode_masks(shapes)
        )


def found_in(made: Scene, folder: Path, tile: int, overlap: int, detector: Detector) -> CocoResults:
    path = folder / "scene.png"
    Image.fromarray(made.picture).save(path)
    with open_tiled(path, Reading()) as image:
        return TiledDetector(detector, tile, overlap).objects(image, torch.device("cpu"))


def faults(made: Scene, found: CocoResults, *, classes: bool) -> list[str]:
    """Returns what is lost, doubled, of another class or of another shape."""
    sure = found.scores >= SURE
    same = overlaps(made.boxes, found.boxes[sure])
    wrong = [f"object {n} found {hits} times" for n, hits in enumerate((same >= 0.5).sum(1).tolist()) if hits != 1]
    wrong += [f"result {n} is no object" for n, best in enumerate(same.max(0).tolist()) if best < 0.5]
    if wrong or found.rles is None:
        return wrong
    rles = [rle for rle, kept in zip(found.rles, sure, strict=True) if kept]
    for number, row in enumerate(same):
        at = int(row.argmax())
        if classes and found.labels[sure][at] != made.labels[number]:
            wrong.append(f"object {number} is taken for another class")
        if (decode_masks([rles[at]], HeightWidth(*made.picture.shape[:2]))[0] != made.mask(number)).any():
            wrong.append(f"object {number} has another mask")
    return wrong
