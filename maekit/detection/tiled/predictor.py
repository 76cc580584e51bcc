"""Finds the objects of images that are larger than memory, tile by tile."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.base.shown import Predictor
from maekit.base.tile_options import TileOptions
from maekit.detection.data.annotation import TextRle
from maekit.detection.data.coco.rle import cut_out, text_of_part
from maekit.detection.data.transforms import DetEvalTransform
from maekit.detection.metrics.coco_masks import CocoResults
from maekit.detection.predictions import FoundObjects
from maekit.detection.tiled.join import Joined, join
from maekit.detection.tiled.views import Views
from maekit.drawing.views import LARGEST
from maekit.errors import UserError
from maekit.system.progress import Progress
from maekit.system.size import HeightWidth
from maekit.tiles.region import Region, check_tile, tiles
from maekit.tiles.thumbnail import shrunk
from maekit.tiles.tiled_image import TiledImage

OVERLAP_SHARE = 4  # a tile shares a fourth of itself with the next, unless said
MOST_PIXELS = 2**32  # run lengths count in 32 bits


@dataclass(frozen=True)
class TiledDetector:
    """Finds the objects of each tile as those of an image of its own, and makes one list of them.

    Attributes:
        predictor: of single images; it gives `FoundObjects`.
        tile: side of a tile in pixels of the file.
        overlap: pixels that neighbours share.
        picture_of: turns pixels [h, w, C] of bands into RGB; None for a model of RGB.
    """

    predictor: Predictor
    tile: int
    overlap: int
    picture_of: Callable[[Tensor], Image.Image] | None = None

    @classmethod
    def of(cls, predictor: Predictor, input: Mapping[str, Any], options: TileOptions) -> Self:
        """Returns what runs a predictor on tiles.

        Args:
            predictor: of single images; it gives `FoundObjects`.
            input: the values of the data's `input_transform()`.
            options: the user's, see `detector_tiles`.

        Raises:
            UserError: the options contradict each other.
        """
        transform = DetEvalTransform(**input)
        return cls(predictor, *detector_tiles(options, transform.image_size), transform.normalise.picture)

    @property
    def words(self) -> str:
        """How an image is looked at, for people."""
        return f"images in tiles of {self.tile:,} x {self.tile:,} pixels that share {self.overlap:,}"

    @contextmanager
    def predict(
        self, image: TiledImage, folder: Path, device: torch.device
    ) -> Iterator[tuple[Image.Image, FoundObjects]]:
        """Gives a picture of an open image, no side above 1600 pixels, and its objects.

        Raises:
            UserError: a tile of the file is damaged, or the image is too large for masks in COCO's form.
        """
        found = self.objects(image, device)
        yield shrunk(image, LARGEST, self.picture_of), FoundObjects(image.size, found)

    @torch.inference_mode()
    def objects(self, image: TiledImage, device: torch.device) -> CocoResults:
        """Returns the objects of an image, each once, the highest score first."""
        if image.size.height * image.size.width >= MOST_PIXELS:
            raise UserError(
                f"{image.path}: {image.size.width:,} x {image.size.height:,} pixels, expected fewer than "
                f"{MOST_PIXELS:,}, which COCO's form of masks counts; cut it in parts"
            )
        places = tiles(image.size, self.tile, self.overlap)
        found = []
        with Progress("predict", len(places), "tile") as progress:
            for place in places:
                (one,) = self.predictor.predict([self.predictor.prepare(image.read(place))], device)
                found.append(one.objects)
                progress.advance(1)
        return joined_results(found, places, image.size)


def detector_tiles(options: TileOptions, image_size: int) -> tuple[int, int]:
    """Returns the side of a tile and the overlap, in pixels of the file.

    A tile is resized to the model's input as an image of its own is, so its side decides the scale: by default the
    model sees the file's pixels as they are.

    Args:
        options: the user's.
        image_size: side of the model's input in pixels.

    Raises:
        UserError: tile and scale contradict each other, or the overlap is not smaller than the tile.
    """
    tile = options.tile
    if options.scale is not None:
        fitting = max(1, round(image_size / options.scale))
        if tile is not None and tile != fitting:
            raise UserError(
                f"--tile {tile} and --scale {options.scale:g}: a tile is resized to the model's {image_size} pixels, "
                f"so its side decides the scale; leave one of them out, or give --tile {fitting}"
            )
        tile = fitting
    tile = image_size if tile is None else tile
    overlap = tile // OVERLAP_SHARE if options.overlap is None else options.overlap
    check_tile(tile, overlap)
    return tile, overlap


def joined_results(found: Sequence[CocoResults], places: Sequence[Region], size: HeightWidth) -> CocoResults:
    """Returns the objects of an image of what was found in each of its tiles.

    Args:
        found: in the pixels of each tile; all with masks, or none.
        places: the tiles, as many.
        size: of the image.
    """
    corners = [np.array([place.left, place.top] * 2) for place in places]
    counts = [len(one.scores) for one in found]
    views = Views(
        places,
        size,
        np.concatenate([one.boxes.reshape(-1, 4) + corner for one, corner in zip(found, corners, strict=True)]).astype(
            np.float64
        ),
        np.concatenate([one.scores for one in found]).astype(np.float64),
        np.concatenate([one.labels for one in found]).astype(np.int64),
        np.repeat(np.arange(len(found)), counts),
    )
    objects = join(views)
    boxes = np.array([one.box for one in objects], dtype=np.float64).reshape(-1, 4)
    scores = np.array([one.score for one in objects], dtype=np.float64)
    labels = np.array([one.label for one in objects], dtype=np.int64)
    if any(one.rles is None for one in found):
        return CocoResults(boxes, scores, labels, None)
    rles = [rle for one in found for rle in one.rles or ()]
    return CocoResults(boxes, scores, labels, [_mask(one, rles, views) for one in objects])


def _mask(one: Joined, rles: Sequence[TextRle], views: Views) -> TextRle:
    """Returns the mask of an object: that of its view, or the parts of several views together."""
    parts: list[tuple[Region, np.ndarray]] = []
    for view in one.views:
        tile = views.tiles[views.tile_of[view]]
        bitmap, top, left = cut_out(rles[view])
        top, left = top + tile.top, left + tile.left
        parts.append((Region(top, left, top + bitmap.shape[0], left + bitmap.shape[1]), bitmap))
    parts = [part for part in parts if part[1].size] or [(Region(0, 0, 1, 1), np.zeros((1, 1), dtype=bool))]
    tops, lefts, bottoms, rights = zip(*(place for place, _ in parts), strict=True)
    box = Region(min(tops), min(lefts), max(bottoms), max(rights))
    whole = np.zeros(box.size, dtype=bool)
    for place, bitmap in parts:
        whole[place.top - box.top : place.bottom - box.top, place.left - box.left : place.right - box.left] |= bitmap
    return {"size": list(views.size), "counts": text_of_part(whole, box.top, box.left, views.size)}
