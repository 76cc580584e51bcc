"""Counts what a trained detector misses, doubles and mistakes at the seams of tiles, and away from them.

Large scenes are made of small ones with digits that no training scene shows, side by side: `maekit fit --task
coco_maskrcnn --recipe smoke` makes the model. The same small scenes alone, where no edge cuts a digit, are the
measure: what goes wrong there too is the model's, not the joining's.

    python -m benchmarks.seams_model runs/coco_maskrcnn/smoke/0
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from maekit.base.tile_options import TileOptions
from maekit.commands.shared.prediction_source import PredictionSource, find_model, open_source
from maekit.data.digit_scenes import SIDE
from maekit.data.digits import DIGITS, digits
from maekit.data.images.decode import UPRIGHT
from maekit.detection.data.coco.scenes import draw_objects
from maekit.detection.metrics.coco_masks import CocoResults
from maekit.detection.tiled.predictor import TiledDetector
from maekit.detection.tiled.views import Bools, Floats, overlaps
from maekit.system.size import HeightWidth
from maekit.tiles.open import open_tiled
from maekit.tiles.region import Region, tiles

SEED, SCORE, SAME = 1_000_000, 0.3, 0.5  # the first scene's; the least score that predict lists; IoU of one object


@dataclass(frozen=True, eq=False)
class Truth:
    """A picture [H, W, 3], and boxes [K, 4] and labels [K] of its objects."""

    picture: np.ndarray
    boxes: Floats
    labels: np.ndarray


def small_scene(number: int) -> Truth:
    """Returns a scene of 128 x 128 pixels with digits of the validation scenes."""
    pool = [digit for digit in digits() if digit.in_val]
    picture, things = draw_objects(pool, np.random.RandomState(SEED + number), crowded=False)
    boxes = []
    for thing in things:
        rows, columns = (np.flatnonzero(thing.visible.any(axis=axis)) for axis in (1, 0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return Truth(picture, np.array(boxes, dtype=float).reshape(-1, 4), np.array([thing.label for thing in things]))


def side_by_side(scenes: Sequence[Truth], across: int) -> Truth:
    """Returns `across` x `across` scenes as one."""
    rows = [np.concatenate([one.picture for one in scenes[at : at + across]], 1) for at in range(0, across**2, across)]
    corners = [np.array([at % across, at // across] * 2) * SIDE for at in range(across**2)]
    boxes = np.concatenate([one.boxes + corner for one, corner in zip(scenes, corners, strict=True)])
    return Truth(np.concatenate(rows), boxes, np.concatenate([one.labels for one in scenes]))


def crossed(boxes: Floats, places: Sequence[Region], size: HeightWidth) -> tuple[Bools, Bools]:
    """Returns which boxes an edge of a tile within the image cuts, and which are whole in no tile."""
    lines = [{getattr(place, side) for place in places} - {0, size.width} for side in ("left", "right")]
    tops = [{getattr(place, side) for place in places} - {0, size.height} for side in ("top", "bottom")]
    cut = [
        any(x0 < line < x1 for line in set.union(*lines)) or any(y0 < line < y1 for line in set.union(*tops))
        for x0, y0, x1, y1 in boxes.tolist()
    ]
    whole = [
        any(p.left <= x0 and p.top <= y0 and x1 <= p.right and y1 <= p.bottom for p in places)
        for x0, y0, x1, y1 in boxes.tolist()
    ]
    return np.array(cut, dtype=bool), ~np.array(whole, dtype=bool)


@dataclass
class Counts:
    """Objects; how many were missed, found twice as one class, found as two classes, and as other classes alone."""

    objects: int = 0
    missed: int = 0
    doubled: int = 0
    of_two_classes: int = 0
    mistaken: int = 0

    def add(self, hits: np.ndarray, labels: np.ndarray) -> None:
        """Adds objects [k] by the number of results of each class on them [k, C]."""
        self.objects += len(hits)
        self.missed += int((hits.sum(1) == 0).sum())
        self.doubled += int((hits > 1).any(1).sum())
        self.of_two_classes += int(((hits > 0).sum(1) > 1).sum())
        right = hits[np.arange(len(labels)), labels] > 0
        self.mistaken += int(((hits.sum(1) > 0) & ~right).sum())

    def words(self) -> str:
        """The counts, and their shares in percent."""
        parts = [f"{value} {name} ({100 * value / max(self.objects, 1):.1f} %)" for name, value in self._named()]
        return f"{self.objects} objects: {', '.join(parts)}"

    def _named(self) -> list[tuple[str, int]]:
        doubles = [("doubled as one class", self.doubled), ("found as two classes", self.of_two_classes)]
        return [("missed", self.missed), *doubles, ("found as another class alone", self.mistaken)]


def matched(truth: Truth, found: CocoResults) -> tuple[np.ndarray, int]:
    """Returns the number of results of each class on each object [K, C], and how many results are on none."""
    kept = found.scores >= SCORE
    same = overlaps(truth.boxes, found.boxes[kept].reshape(-1, 4)) >= SAME
    classes = np.eye(len(DIGITS), dtype=int)[found.labels[kept]]
    return same.astype(int) @ classes, int((~same.any(0)).sum())


def measure_tiled(source: PredictionSource, scenes: Sequence[Truth], folder: Path, overlap: int) -> list[str]:
    """Returns lines on large scenes, in tiles of a small scene's side."""
    detector = source.tiled(TileOptions(tile=SIDE, overlap=overlap))
    assert isinstance(detector, TiledDetector)
    counts, nowhere = {name: Counts() for name in ("no edge", "an edge, whole in a tile", "whole in no tile")}, 0
    for truth in scenes:
        path, size = folder / "scene.png", HeightWidth(*truth.picture.shape[:2])
        Image.fromarray(truth.picture).save(path)
        with open_tiled(path, UPRIGHT) as image:
            hits, stray = matched(truth, detector.objects(image, source.device))
        cut, nowhere_whole = crossed(truth.boxes, tiles(size, SIDE, overlap), size)
        for name, chosen in zip(counts, (~cut, cut & ~nowhere_whole, nowhere_whole), strict=True):
            counts[name].add(hits[chosen], truth.labels[chosen])
        nowhere += stray
    lines = [f"    {name}: {each.words()}" for name, each in counts.items() if each.objects]
    return [f"tiles of {SIDE} that share {overlap}: {nowhere} results on no object", *lines]


def measure_alone(source: PredictionSource, scenes: Sequence[Truth]) -> str:
    """Returns a line on small scenes, each predicted whole."""
    counts, nowhere = Counts(), 0
    for truth in scenes:
        sample = source.predictor.prepare(Image.fromarray(truth.picture))
        with torch.inference_mode():
            (found,) = source.predictor.predict([sample], source.device)
        hits, stray = matched(truth, found.objects)
        counts.add(hits, truth.labels)
        nowhere += stray
    return f"small scenes alone: {nowhere} results on no object\n    {counts.words()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run of coco_maskrcnn's recipe smoke")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--across", type=int, default=5, help="small scenes along a side of a large one")
    args = parser.parse_args()
    source = open_source(find_model(args.model), "cpu", None)
    small = [small_scene(number) for number in range(args.scenes * args.across**2)]
    large = [side_by_side(small[at : at + args.across**2], args.across) for at in range(0, len(small), args.across**2)]
    print(measure_alone(source, small), flush=True)
    with TemporaryDirectory() as folder:
        for overlap in (0, SIDE // 4, SIDE // 2):
            print("\n".join(measure_tiled(source, large, Path(folder), overlap)), flush=True)


if __name__ == "__main__":
    main()
