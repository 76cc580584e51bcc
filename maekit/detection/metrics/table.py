"""The tables of a detector's evaluation: its classes, and COCO's 12 numbers of boxes and of masks."""

import math
from collections.abc import Sequence

from maekit.detection.metrics.coco_eval import NUMBERS
from maekit.detection.metrics.detection import DetectionMetrics


def class_table(names: Sequence[str], metrics: DetectionMetrics) -> list[str]:
    """Returns the lines of a table of all classes, the worst box AP first, then those that have no objects.

    Args:
        names: one a class, in label order.
        metrics: filled; every process must call this.
    """
    scores = metrics.scores()
    aps = [scores.per_class[kind] for kind in metrics.kinds]
    box = aps[0]
    width = max(len("class"), *(len(name) for name in names))
    seen = [label for label in range(len(names)) if not math.isnan(box[label])]
    rows = []
    for label in sorted(seen, key=lambda label: [ap[label] for ap in aps]):
        values = _columns([f"{ap[label]:.2f}" for ap in aps])
        rows.append(f"{label:>5}  {names[label]:<{width}}  {values}{scores.objects[label]:>9,}")
    absent = [f"{names[label]} ({label})" for label in range(len(names)) if label not in seen]
    header = f"{'label':>5}  {'class':<{width}}  {_columns([f'{kind} AP' for kind in metrics.kinds])}{'objects':>9}"
    left_out = [f"without objects, so left out of the means: {', '.join(absent)}"] if absent else []
    return [header, *rows, *left_out]


def _columns(values: Sequence[str]) -> str:
    """Returns the columns of box AP and mask AP, as far as there are values."""
    return "".join(f"{value:>{width}}  " for value, width in zip(values, (6, 7), strict=False))


def summary_table(metrics: DetectionMetrics) -> list[str]:
    """Returns the lines of a table of COCO's 12 numbers, in percent: a row for boxes, and one for masks.

    Args:
        metrics: filled; every process must call this.
    """
    values = metrics.scores().values
    rows = [
        f"{kind:<5}" + "".join(f"{values[f'{kind}_{number}']:>7.2f}" for number in NUMBERS) for kind in metrics.kinds
    ]
    return [" " * 5 + "".join(f"{number:>7}" for number in NUMBERS), *rows]
