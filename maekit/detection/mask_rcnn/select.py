"""Selects detections from the box head's output for all proposals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maekit.detection.host import to_host, upload
from maekit.detection.mask_rcnn.boxes import BoxCoder, clipped, clipped_each, deltas_of
from maekit.detection.mask_rcnn.suppression import AT_ONCE, suppress_together
from maekit.detection.operators import batched_nms
from maekit.system.size import HeightWidth


class Selected(NamedTuple):
    """The detections of one image in the host's memory, by falling score: boxes [K, 4], scores [K], labels [K]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def select(
    scores: Tensor,
    deltas: Tensor,
    proposals: Sequence[Tensor],
    sizes: Sequence[HeightWidth],
    *,
    min_score: float,
    nms_iou: float,
    count: int,
    coder: BoxCoder,
) -> list[Selected]:
    """Chooses the detections of each image, as detectron2 does.

    Every class of every proposal whose probability is above `min_score` is decoded and clipped, suppressed class by
    class, and the `count` best are kept. The host waits for an accelerator three times: for how many are above
    `min_score`, for the suppression (image by image if there are more than `AT_ONCE`), and for the results.

    Args:
        scores: float32 [P, C + 1], the probability of each class, the last one background's.
        deltas: [P, C * 4], or [P, 4] for all classes together.
        proposals: of each image, P in all, in the host's memory.
        sizes: of the images without their padding.
        min_score: see above.
        nms_iou: overlap above which the lesser of two boxes of one class goes.
        count: see above.
        coder: of deltas.
    """
    num_classes = scores.shape[1] - 1
    boxes, scores, labels, image = _candidates(scores, deltas, proposals, sizes, min_score, coder)
    if boxes.device.type != "cpu" and len(boxes) <= AT_ONCE:
        groups = image * num_classes + labels
        kept = suppress_together(boxes, scores, groups, len(sizes) * num_classes, nms_iou)
    else:
        kept = _suppressed_each(boxes, scores, labels, image, len(sizes), nms_iou)
    *found, image = to_host([boxes[kept], scores[kept], labels[kept], image[kept]])
    return [_first(Selected(*found), image == number, count) for number in range(len(sizes))]


def _candidates(
    scores: Tensor,
    deltas: Tensor,
    proposals: Sequence[Tensor],
    sizes: Sequence[HeightWidth],
    min_score: float,
    coder: BoxCoder,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns boxes [N, 4], scores, labels and images' numbers [N] of what scores enough.

    A box that is not finite is zeros, and its score minus infinity.
    """
    of_proposal = torch.repeat_interleave(torch.tensor([len(boxes) for boxes in proposals]))
    image, proposal, size = (
        upload(part, scores.device)
        for part in (of_proposal, torch.cat(list(proposals)), torch.tensor(sizes)[of_proposal])
    )
    scores = scores[:, :-1]
    rows, labels = (scores > min_score).nonzero(as_tuple=True)
    boxes = coder.decode(deltas_of(deltas, rows, labels), proposal[rows])
    finite = boxes.isfinite().all(1)
    boxes = torch.where(finite[:, None], clipped_each(boxes, size[rows]), 0.0)
    return boxes, torch.where(finite, scores[rows, labels], -math.inf), labels, image[rows]


def _suppressed_each(
    boxes: Tensor, scores: Tensor, labels: Tensor, image: Tensor, num_images: int, nms_iou: float
) -> Tensor:
    """Returns which boxes [N, 4] are left, those of one image after the other, each by falling score."""
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.device)]
    for number in range(num_images):
        own = (image == number).nonzero()[:, 0]
        kept.append(own[batched_nms(boxes[own], scores[own], labels[own], nms_iou)])
    return torch.cat(kept)


def _first(found: Selected, own: Tensor, count: int) -> Selected:
    """Returns the first `count` rows that are one image's own, bool [N], and finite."""
    rows = (own & found.scores.isfinite()).nonzero()[:count, 0]
    return Selected(*(part[rows] for part in found))


def rescaled(boxes: Tensor, size: HeightWidth, original: HeightWidth) -> Tensor:
    """Returns boxes [K, 4] scaled from an image of `size` to one of `original`, and clipped to it."""
    y, x = original.height / size.height, original.width / size.width
    return clipped(boxes * torch.tensor([x, y, x, y], device=boxes.device), original)
