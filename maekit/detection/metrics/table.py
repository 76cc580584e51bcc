"""The tables of a detector's evaluation: its classes, and its 24 numbers."""

import math
from collections.abc import Sequence

from maekit.detection.metrics.coco_eval import KINDS, NUMBERS
from maekit.detection.metrics.detection import DetectionMetrics


def class_table(names: Sequence[str], metrics: DetectionMetrics) -> list[str]:
    """Returns the lines of a table of all classes, the worst box AP first, then those that have no objects.

    Args:
        names: one a class, in label order.
        metrics: filled; every process must call this.
    """
    scores = metrics.scores()
    box, mask = scores.per_class["box"], scores.per_class["mask"]
    width = max(len("class"), *(len(name) for name in names))
    seen = [label for label in range(len(names)) if not math.isnan(box[label])]
    rows = [
        f"{label:>5}  {names[label]:<{width}}  {box[label]:>6.2f}  {mask[label]:>7.2f}  {scores.objects[label]:>9,}"
        for label in sorted(seen, key=lambda label: (box[label], mask[label]))
    ]
    absent = [f"{names[label]} ({label})" for label in range(len(names)) if label not in seen]
    header = f"{'label':>5}  {'class':<{width}}  {'box AP':>6}  {'mask AP':>7}  {'objects':>9}"
    left_out = [f"without objects, so left out of the means: {', '.join(absent)}"] if absent else []
    return [header, *rows, *left_out]


def summary_table(metrics: DetectionMetrics) -> list[str]:
    """Returns the lines of a table of COCO's 12 numbers, in percent: a row for boxes, one for masks.

    Args:
        metrics: filled; every process must call this.
    """
    values = metrics.scores().values
    rows = [f"{kind:<5}" + "".join(f"{values[f'{kind}_{number}']:>7.2f}" for number in NUMBERS) for kind in KINDS]
    return [" " * 5 + "".join(f"{number:>7}" for number in NUMBERS), *rows]
