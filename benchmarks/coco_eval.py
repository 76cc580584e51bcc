"""Seconds of COCO's evaluation of boxes and masks: maekit, on faster-coco-eval, beside pycocotools, alternately.

    python benchmarks/coco_eval.py            # text; --json FILE writes the numbers too

Both sides evaluate the same made results: images of 640 x 480 of 80 classes, 1 to 20 objects each, a crowd in one of
twenty, and 20 to 100 results, most of them near an object. A round takes each side once, another one first each time.
The clock runs from annotations and results in memory, masks as run lengths, to the 12 numbers each of boxes and masks.
Times are the CPU's, of all threads.
"""

import argparse
import contextlib
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask  # type: ignore[import-untyped, unused-ignore]
from pycocotools.coco import COCO  # type: ignore[import-untyped, unused-ignore]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped, unused-ignore]

from maekit.detection.metrics.coco_eval import KINDS, NUMBERS, SeenImage, evaluate
from maekit.detection.metrics.coco_masks import CocoResults
from maekit.detection.metrics.detection import DetectionMetrics
from maekit.system.size import HeightWidth

HEIGHT, WIDTH, CLASSES = 480, 640, list(range(1, 81))
Scene = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # annotations and results of an image
Timed = tuple[float, list[float]]


def make_scene(image_id: int, rng: np.random.Generator) -> Scene:
    """Annotations with polygons, some of them crowds, and results near them or anywhere, the best scores first."""
    outlines = [outline(rng) for _ in range(int(rng.integers(1, 21)))]
    labels = [int(label) for label in rng.choice(rng.choice(CLASSES, 4), len(outlines))]
    notes = []
    for polygon, label in zip(outlines, labels, strict=True):
        rle, crowd = run_lengths(polygon), int(rng.random() < 0.05)
        notes.append(
            {
                "image_id": image_id, "category_id": label, "iscrowd": crowd, "area": float(coco_mask.area(rle)),
                "bbox": coco_mask.toBbox(rle).tolist(), "segmentation": text(rle) if crowd else [polygon.tolist()],
            }
        )  # fmt: skip
    results = []
    for _ in range(int(rng.integers(20, 101))):
        place = int(rng.integers(len(outlines)))
        near = rng.random() < 0.7
        polygon = outlines[place] + rng.normal(0, 4, 2)[np.arange(len(outlines[place])) % 2] if near else outline(rng)
        label = labels[place] if rng.random() < 0.8 else int(rng.choice(CLASSES))
        rle = run_lengths(polygon)
        box = coco_mask.toBbox(rle) + rng.normal(0, 1, 4)
        score = float(np.float32(rng.random()))
        results.append(
            {
                "image_id": image_id, "category_id": label, "bbox": [*box[:2].tolist(), *box[2:].clip(1).tolist()],
                "score": score, "segmentation": text(rle),
            }
        )  # fmt: skip
    return notes, sorted(results, key=lambda result: -result["score"])


def outline(rng: np.random.Generator) -> np.ndarray:
    """A wavy ellipse of 12 to 60 points, [2n], of 6 to 400 pixels."""
    turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(12, 61))))
    reach = np.exp(rng.uniform(np.log(3), np.log(200))) * (1 + 0.2 * np.sin(5 * turns))
    x = rng.uniform(0, WIDTH) + reach * np.cos(turns)
    y = rng.uniform(0, HEIGHT) + rng.uniform(0.4, 1.5) * reach * np.sin(turns)
    return np.stack([x.clip(0, WIDTH), y.clip(0, HEIGHT)], 1).round(2).ravel()


def run_lengths(polygon: np.ndarray) -> dict[str, Any]:
    rle: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects([polygon.tolist()], HEIGHT, WIDTH))
    return rle


def text(rle: dict[str, Any]) -> dict[str, Any]:
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def as_given(results: list[dict[str, Any]]) -> CocoResults:
    """The results of an image in the model's form."""
    boxes = np.array([result["bbox"] for result in results])
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([result["score"] for result in results])
    labels = np.array([CLASSES.index(result["category_id"]) for result in results])
    return CocoResults(boxes, scores, labels, [result["segmentation"] for result in results])


def time_pycocotools(scenes: list[Scene], kind: str) -> Timed:
    """CPU seconds and the 12 numbers in percent; it changes what it is given, so it is given copies."""
    notes = [{**note, "id": number} for number, note in enumerate((n for notes, _ in scenes for n in notes), 1)]
    unused = {"box": "segmentation", "mask": "bbox"}[kind]
    found = [{key: value for key, value in one.items() if key != unused} for _, results in scenes for one in results]
    images = [{"id": number, "height": HEIGHT, "width": WIDTH} for number in range(len(scenes))]
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "categories": [{"id": c} for c in CLASSES], "annotations": notes}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return time.process_time() - began, [100 * float(stat) for stat in evaluation.stats]


def time_maekit(scenes: list[Scene], kind: str) -> Timed:
    """CPU seconds of the evaluation alone, and the 12 numbers in percent."""
    seen = DetectionMetrics(CLASSES)
    fill(seen, scenes)
    images: list[SeenImage] = seen.seen
    began = time.process_time()
    scores = evaluate(images, CLASSES, [kind])
    return time.process_time() - began, [scores.values[f"{kind}_{number}"] for number in NUMBERS]


def fill(metrics: DetectionMetrics, scenes: list[Scene]) -> None:
    for number, (notes, results) in enumerate(scenes):
        metrics.update(as_given(results), number, HeightWidth(HEIGHT, WIDTH), notes)


def time_whole(scenes: list[Scene]) -> float:
    """CPU seconds of maekit's metric, from the first update to both kinds' numbers."""
    began = time.process_time()
    metrics = DetectionMetrics(CLASSES)
    fill(metrics, scenes)
    metrics.compute()
    return time.process_time() - began


SIDES: dict[str, Callable[[list[Scene], str], Timed]] = {"pycocotools": time_pycocotools, "maekit": time_maekit}


def measure(images: int, rounds: int) -> dict[str, Any]:
    """Everything the benchmark finds."""
    rng = np.random.default_rng(0)
    scenes = [make_scene(number, rng) for number in range(images)]
    seconds: dict[str, list[float]] = {f"{side} {kind}": [] for kind in KINDS for side in SIDES}
    seconds["maekit whole metric"] = []
    worst = 0.0
    for turn in range(rounds):
        for kind in KINDS:
            numbers = {}
            for side in list(SIDES)[:: 1 if turn % 2 else -1]:
                spent, numbers[side] = SIDES[side](scenes, kind)
                seconds[f"{side} {kind}"].append(spent)
            worst = max(worst, *(abs(a - b) for a, b in zip(*numbers.values(), strict=True)))
        seconds["maekit whole metric"].append(time_whole(scenes))
    both = {side: [a + b for a, b in zip(*(seconds[f"{side} {k}"] for k in KINDS), strict=True)] for side in SIDES}
    pairs = {kind: (seconds[f"pycocotools {kind}"], seconds[f"maekit {kind}"]) for kind in KINDS}
    pairs |= {"both": (both["pycocotools"], both["maekit"])}
    pairs |= {"both, whole metric": (both["pycocotools"], seconds["maekit whole metric"])}
    return {
        "results": f"{images} images, {sum(len(found) for _, found in scenes)} results of {len(CLASSES)} classes",
        "versions": {name: version(name) for name in ("faster-coco-eval", "pycocotools", "numpy")},
        "machine": platform.processor() or platform.machine(),
        "rounds": rounds,
        "seconds": {name: round(statistics.median(found), 2) for name, found in seconds.items()},
        "times_faster": {name: ratio(*pair) for name, pair in pairs.items()},
        "largest_difference": worst / 100,
        "numbers": numbers["maekit"],
    }


def ratio(slow: list[float], fast: list[float]) -> list[float]:
    """Median, smallest and largest over the rounds."""
    found = [a / b for a, b in zip(slow, fast, strict=True)]
    return [round(value, 2) for value in (statistics.median(found), min(found), max(found))]


def show(found: dict[str, Any]) -> None:
    """Prints the result as text."""
    print(f"{found['results']}; {found['rounds']} rounds; {found['versions']}")
    for name, seconds in found["seconds"].items():
        print(f"  {name:28} {seconds:8.2f} s")
    for name, (median, low, high) in found["times_faster"].items():
        print(f"  {name:28} {median:8.2f} ({low}-{high}) times faster")
    equal = "equal to 4 decimals" if found["largest_difference"] < 5e-5 else "NOT EQUAL"
    print(f"  the 24 numbers (0 to 1) are {equal}: the largest difference is {found['largest_difference']:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the result as JSON")
    args = parser.parse_args()
    found = measure(args.images, args.rounds)
    show(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
