"""COCO's evaluation of boxes and masks by faster-coco-eval, on results and annotations in COCO's own form."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from faster_coco_eval.core import COCO, COCOeval_faster  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

from maekit.detection.data.annotation import TextRle
from maekit.detection.metrics.coco_masks import CocoResults, mask_areas
from maekit.system.size import HeightWidth

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KINDS = {"box": "bbox", "mask": "segm"}


class SeenAnnotation(TypedDict):
    """The values of an annotation that the evaluation reads; see `Annotation`.

    Attributes:
        segmentation: the mask; without a shape, that of the box.
        box_only: whether it has no shape.
    """

    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    segmentation: TextRle
    box_only: bool


class CocoResult(TypedDict):
    """A found object as COCO's result files hold it: `bbox` is x, y, width, height; boxes alone have no shape."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float
    segmentation: NotRequired[TextRle]


class SeenImage(NamedTuple):
    """One evaluated image.

    Attributes:
        image_id: COCO's id of it.
        size: of the file.
        found: the objects that the model found.
        truth: its annotations.
        place: its place in the listing from 0; -1 where that is not known.
    """

    image_id: int
    size: HeightWidth
    found: CocoResults
    truth: list[SeenAnnotation]
    place: int = -1


class PrecisionCurves(NamedTuple):
    """Precision over recall at an IoU of 0.5, of boxes or masks of any size.

    Attributes:
        precision: float64 [101, C] in 0..1 at the recalls 0, 0.01, ... 1: the best at that recall or a higher one; 0
            where that recall is not reached, NaN of a class without objects.
        score: float64 [101, C], the score from which on boxes count to reach that recall; 0 where it is not reached.
    """

    precision: NDArray[np.float64]
    score: NDArray[np.float64]


class Scores(NamedTuple):
    """The numbers of an evaluation in percent, NaN where there is no object.

    Attributes:
        values: COCO's 12 numbers of each kind that was asked for, by `box_AP` to `mask_ARl`.
        per_class: AP of each class in label order, by `box` and `mask`.
        objects: how many objects each class has, crowds left out.
        curves: by `box` and `mask`, the precision of each class at an IoU of 0.5.
    """

    values: dict[str, float]
    per_class: dict[str, list[float]]
    objects: list[int]
    curves: dict[str, PrecisionCurves]


def evaluate(images: Sequence[SeenImage], category_ids: Sequence[int], kinds: Sequence[str] = tuple(KINDS)) -> Scores:
    """Returns the scores of boxes and masks, equal to those of pycocotools.

    Small, medium and large are decided by the annotation's area, and by the area of a found box or mask. Objects
    without a shape (`box_only`) count for boxes. For masks their boxes are ignored as crowds are: a mask found there
    counts as neither right nor wrong, while pycocotools would count the object as missed.

    Args:
        images: without duplicates.
        category_ids: COCO's id of each label. Annotations of other categories are not counted.
        kinds: of `box` and `mask`; for masks every found object must have one.
    """
    truth, found = _truth(images, category_ids), _found(images, category_ids)
    values: dict[str, float] = {}
    per_class: dict[str, list[float]] = {}
    curves: dict[str, PrecisionCurves] = {}
    objects = Counter(note["category_id"] for note in truth.dataset["annotations"] if not note["iscrowd"])
    for name in kinds:
        _ignore_boxes(truth, name == "mask")
        if name == "mask":
            _measure_masks(found)
        stats, per_class[name], curves[name] = _run(truth, found, KINDS[name], category_ids)
        values |= {f"{name}_{number}": stat for number, stat in zip(NUMBERS, stats, strict=True)}
    return Scores(values, per_class, [objects[category] for category in category_ids], curves)


def standard_results(images: Iterable[SeenImage], category_ids: Sequence[int]) -> list[CocoResult]:
    """Returns a dict for each found object."""
    results: list[CocoResult] = []
    for image in images:
        boxes = np.array(image.found.boxes, dtype=np.float64).reshape(-1, 4)  # a copy
        boxes[:, 2:] -= boxes[:, :2]
        columns = (boxes.tolist(), image.found.scores.tolist(), image.found.labels.tolist())
        own: list[CocoResult] = [
            {"image_id": image.image_id, "category_id": category_ids[label], "bbox": box, "score": score}
            for box, score, label in zip(*columns, strict=True)
        ]
        for result, rle in zip(own, image.found.rles or (), strict=image.found.rles is not None):
            result["segmentation"] = rle
        results += own
    return results


def _truth(images: Sequence[SeenImage], category_ids: Sequence[int]) -> COCO:
    """Annotations are renumbered from 1: the evaluation takes id 0 for no match, and a file may repeat ids."""
    notes = [{**note, "image_id": image.image_id, "crowd": note["iscrowd"]} for image in images for note in image.truth]
    return _coco(images, category_ids, notes)


def _found(images: Sequence[SeenImage], category_ids: Sequence[int]) -> COCO:
    results = standard_results(images, category_ids)
    areas = [result["bbox"][2] * result["bbox"][3] for result in results]
    notes = [{**result, "area": area, "iscrowd": 0} for result, area in zip(results, areas, strict=True)]
    return _coco(images, category_ids, notes)


def _ignore_boxes(truth: COCO, ignore: bool) -> None:
    """Marks the objects without a shape as crowds if `ignore`, else as objects."""
    for note in truth.dataset["annotations"]:
        if note["box_only"] and not note["crowd"]:
            note["iscrowd"] = int(ignore)


def _measure_masks(found: COCO) -> None:
    """Replaces the area of each result, which is its box's, by its mask's."""
    results = found.dataset["annotations"]
    for result, area in zip(results, mask_areas([result["rle"] for result in results]), strict=True):
        result["area"] = area


def _coco(images: Sequence[SeenImage], category_ids: Sequence[int], notes: Sequence[dict[str, Any]]) -> COCO:
    """Passes masks as `rle`, which the evaluation would make of `segmentation` in a third of its time."""
    for number, note in enumerate(notes, 1):
        note["id"], rle = number, note.pop("segmentation", None)
        if rle is not None:
            note["rle"] = {"size": rle["size"], "counts": rle["counts"].encode()}
    sizes = [{"id": image.image_id, **image.size._asdict()} for image in images]
    categories = [{"id": category} for category in category_ids]
    return COCO({"images": sizes, "categories": categories, "annotations": notes}, print_function=_silent)


def _run(
    truth: COCO, found: COCO, kind: str, category_ids: Sequence[int]
) -> tuple[list[float], list[float], PrecisionCurves]:
    """Returns the 12 numbers in percent, the AP of each label, and the curves of the labels."""
    evaluation = COCOeval_faster(truth, found, kind, print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes by rising id
    aps = [_mean(precision[:, :, place]) for place in range(precision.shape[2])]
    place_of = {category: place for place, category in enumerate(sorted(category_ids))}
    stats = [_percent(float(stat)) for stat in evaluation.stats]
    places = [place_of[category] for category in category_ids]
    at_half, scores = precision[0][:, places], evaluation.eval["scores"][0, :, :, 0, -1][:, places]
    curves = PrecisionCurves(np.where(at_half < 0, np.nan, at_half), np.maximum(scores, 0.0))
    return stats, [_percent(aps[place]) for place in places], curves


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if (values > -1).all() else -1.0


def _percent(share: float) -> float:
    return float("nan") if share < 0 else 100 * share


def _silent(*_: object) -> None:
    """Discards what faster-coco-eval prints."""
