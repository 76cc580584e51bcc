"""Box AP, and mask AP where there are masks, exact under any split of the images over processes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, distributed, nn

from maekit.base.per_class import ClassValue, PerClass, per_class_json
from maekit.detection.data.annotation import Annotation
from maekit.detection.metrics.box_matches import confusion
from maekit.detection.metrics.coco_eval import (
    KINDS,
    CocoResult,
    Scores,
    SeenAnnotation,
    SeenImage,
    evaluate,
    standard_results,
)
from maekit.detection.metrics.coco_masks import CocoResults, mask_areas, truth_rle
from maekit.detection.metrics.records import BoxRecords
from maekit.errors import UserError
from maekit.system.size import HeightWidth


class DetectionMetrics(nn.Module):
    """COCO's 12 numbers for boxes and, where there are masks, 12 for these, over all images at once.

    Each process keeps its images; the first `compute` after an update gathers them on every process, so every process
    must call it. An image that two processes saw counts once. `scores`, `results` and the table use the same result
    until the next `update` or `reset`.

    Args:
        category_ids: COCO's id of each label, in label order.
        masks: whether masks are found, and measured.
    """

    def __init__(self, category_ids: Sequence[int], *, masks: bool = True) -> None:
        super().__init__()
        self.kinds = tuple(KINDS) if masks else ("box",)
        if len(set(category_ids)) != len(category_ids):
            raise UserError(f"got category ids {list(category_ids)}, expected each once; mend the annotation file")
        self.category_ids = [int(category) for category in category_ids]
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.seen: list[SeenImage] = []
        self._joined: list[SeenImage] | None = None
        self._scores: Scores | None = None

    def update(
        self, found: CocoResults, image_id: int, size: HeightWidth, truth: Sequence[Annotation], place: int = -1
    ) -> None:
        """Adds one image with what was found in it.

        Args:
            found: the objects that the model found, maybe none.
            image_id: COCO's id of the image.
            size: of the image file.
            truth: the image's annotations.
            place: of the image in the listing from 0.

        Raises:
            UserError: a label without a class, masks of another size, or not one score, label and mask for each box.
        """
        rles = found.rles if "mask" in self.kinds else None
        found = CocoResults(np.asarray(found.boxes), np.asarray(found.scores), np.asarray(found.labels), rles)
        self._check(found, size)
        self.seen.append(SeenImage(int(image_id), size, found, [_annotation(note, size) for note in truth], place))
        self._joined = self._scores = None

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars in percent, 0 to 100: `box_AP` to `box_ARl`, and `mask_AP` to `mask_ARl` of masks.

        APs, APm and APl are of small, medium and large objects, AR1, AR10 and AR100 of as many results an image; nan
        where there is no such object. Every process must call it.
        """
        values = self.scores().values
        return {name: torch.tensor(value) for name, value in values.items()}

    def scores(self) -> Scores:
        """Returns all numbers, those of each class too. Every process must call it."""
        images = self._all()
        if self._scores is None:
            self._scores = evaluate(images, self.category_ids, self.kinds)
        return self._scores

    def results(self) -> list[CocoResult]:
        """Returns COCO's result dicts of all images, by rising image id. Every process must call it."""
        return standard_results(self._all(), self.category_ids)

    def images_with(self) -> list[int]:
        """Returns how many images have objects of each class, crowds left out. Every process must call it."""
        found = Counter(
            category
            for image in self._all()
            for category in {note["category_id"] for note in image.truth if not note["iscrowd"]}
        )
        return [found[category] for category in self.category_ids]

    def image_records(self, min_score: float) -> BoxRecords:
        """Returns the images; a box counts in their columns from `min_score` on. Every process must call it."""
        images = self._all()
        places = [number if image.place < 0 else image.place for number, image in enumerate(images)]
        return BoxRecords(images, places, self.category_ids, min_score)

    def confusion(self, min_score: float) -> list[list[int]]:
        """Returns which classes were found as which, see `box_matches.confusion`. Every process must call it."""
        return confusion(self._all(), self.category_ids, min_score)

    def _all(self) -> list[SeenImage]:
        """Returns the images of all processes without duplicates, by rising id."""
        if self._joined is None:
            parts = [self.seen]
            if distributed.is_available() and distributed.is_initialized():
                parts = [[] for _ in range(distributed.get_world_size())]
                distributed.all_gather_object(parts, self.seen)
            by_id = {image.image_id: image for part in reversed(parts) for image in reversed(part)}
            self._joined = [by_id[image_id] for image_id in sorted(by_id)]
        return self._joined

    def _check(self, found: CocoResults, size: HeightWidth) -> None:
        count, num_classes = len(found.scores), len(self.category_ids)
        lengths = [
            len(found.boxes),
            count,
            len(found.labels),
            *([len(found.rles or ())] if "mask" in self.kinds else []),
        ]
        if found.boxes.size != 4 * count or set(lengths) != {count}:
            raise UserError(f"got {lengths} boxes, scores, labels and masks of an image, expected one number")
        outside = found.labels[(found.labels < 0) | (found.labels >= num_classes)]
        if len(outside):
            raise UserError(
                f"got label {outside[0]}, expected 0 to {num_classes - 1}; check that data and model have the same "
                "classes"
            )
        sizes = {tuple(rle["size"]) for rle in found.rles or ()} - {tuple(size)}
        if sizes:
            raise UserError(
                f"got masks of {sizes.pop()} pixels for an image of {tuple(size)}; paste at the file's size"
            )


def class_json(names: Sequence[str], metrics: DetectionMetrics, confused: Sequence[Sequence[int]] = ()) -> PerClass:
    """Returns the box AP and, of masks, the mask AP of each class, as `per_class.json` keeps them.

    Args:
        names: one a class, in label order.
        metrics: filled; every process must call this.
        confused: of `DetectionMetrics.confusion`; empty leaves out what a class is taken for.
    """
    aps = metrics.scores().per_class
    mask = aps.get("mask", [None] * len(names))
    taken = [_taken(names, row, label) for label, row in enumerate(confused[:-1])] or [(None, None)] * len(names)
    columns = zip(names, aps["box"], mask, metrics.images_with(), *zip(*taken, strict=True), strict=True)
    return per_class_json("box AP", "mask AP" if "mask" in aps else None, [ClassValue(*row) for row in columns])


def _taken(names: Sequence[str], row: Sequence[int], label: int) -> tuple[str | None, float | None]:
    """Returns which other class the objects of one are most often found as, and the share in percent."""
    others = [0 if place in (label, len(names)) else count for place, count in enumerate(row)]
    most = max(others)
    return (names[others.index(most)], 100 * most / sum(row)) if most else (None, None)


def _annotation(note: Annotation, size: HeightWidth) -> SeenAnnotation:
    """Returns an annotation with its mask as run lengths, which are smaller than polygons.

    One without a shape is marked, and its box is its mask.
    """
    shape, (x, y, width, height) = note.get("segmentation"), (float(side) for side in note["bbox"])
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    rle = truth_rle(shape or [corners], size)
    return {
        "category_id": note["category_id"],
        "bbox": list(note["bbox"]),
        "area": note["area"] if "area" in note else mask_areas([rle])[0],
        "iscrowd": int(note.get("iscrowd", 0)),
        "segmentation": rle,
        "box_only": not shape,
    }
