"""The outputs of a `FixedDetector`: as the detections of files, and compared with another program's."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from maekit.base.exportable import Compared, Outputs
from maekit.detection.mask_rcnn.boxes import not_empty, sizes_of
from maekit.detection.mask_rcnn.select import rescaled
from maekit.detection.mask_rcnn.types import Detections

SAME_BOX = 0.9  # overlap from which two boxes of one class are of one object: after suppression no two others have it
FEW_LOST = 0.01  # share of objects that two programs may not both have: scores or overlaps at a threshold


def detections_of(outputs: Mapping[str, Tensor], size: Tensor, original: Tensor) -> list[Detections]:
    """Returns the objects of each image in pixels of its file, without boxes that are empty there.

    Args:
        outputs: of B images, see `FixedDetector.forward`; on the CPU.
        size: int64 [B, 2], height and width of the pictures inside the square images.
        original: int64 [B, 2], of their files.
    """
    found = []
    for image, (inside, outside) in enumerate(zip(sizes_of(size), sizes_of(original), strict=True)):
        count = int(outputs["count"][image])
        boxes = rescaled(outputs["boxes"][image, :count], inside, outside)
        kept = not_empty(boxes)
        scores, labels = (outputs[name][image, :count][kept] for name in ("scores", "labels"))
        masks = outputs["masks"][image, :count][kept] if "masks" in outputs else None
        found.append(Detections(boxes[kept], scores, labels, masks))
    return found


def compare_objects(ours: Outputs, theirs: Outputs) -> Compared:
    """Compares the objects that both programs found: same image, same class, boxes that overlap by 90 %.

    An object whose score or overlap lies at a threshold may be found by one of them alone. Where that is more than one
    in a hundred, and more than one of these images, nothing explains it, and every difference is infinite.

    Returns:
        The largest difference of boxes, divided by the largest coordinate; of scores and of masks; the objects that
        both found, and the most that one of them did.
    """
    numeric = [name for name in ("boxes", "scores", "masks") if name in ours]
    if any(ours[name].shape != theirs[name].shape for name in ours):
        return Compared({name: float("inf") for name in numeric}, 0, max(int(ours["count"].sum()), 1))
    pairs = [_pairs(ours, theirs, image) for image in range(len(ours["count"]))]
    total = int(np.maximum(ours["count"], theirs["count"]).sum())
    equal = sum(len(mine) for mine, _ in pairs)
    if total - equal > max(1, FEW_LOST * total):
        return Compared({name: float("inf") for name in numeric}, equal, total)
    differences = dict.fromkeys(numeric, 0.0)
    for image, (mine, others) in enumerate(pairs):
        for name in numeric:
            found = np.abs(ours[name][image, mine] - theirs[name][image, others]).max(initial=0.0)
            scale = max(1.0, float(np.abs(ours[name][image]).max(initial=0.0)))
            differences[name] = max(differences[name], float(found) / scale)
    return Compared(differences, equal, total)


def _pairs(ours: Outputs, theirs: Outputs, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of one image that are the same object, int64 [K] of each; NaN is no object."""
    mine, others = (
        {name: torch.from_numpy(given[name][image, : int(given["count"][image])]) for name in ("boxes", "labels")}
        for given in (ours, theirs)
    )
    overlaps = box_iou(mine["boxes"], others["boxes"])
    overlaps[mine["labels"][:, None] != others["labels"][None]] = 0.0
    rows = []
    for row in range(len(overlaps)):
        if overlaps.shape[1] and float(overlaps[row].max()) >= SAME_BOX:
            column = int(overlaps[row].argmax())
            overlaps[:, column] = 0.0
            rows.append((row, column))
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
