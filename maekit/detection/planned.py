"""The losses of a Mask R-CNN or a cascade on tensors without values: with the most regions that a step may draw."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.detection.mask_rcnn.losses import mask_loss
from maekit.detection.mask_rcnn.roi_heads import RegionHeads
from maekit.detection.mask_rcnn.rpn import RegionProposals
from maekit.detection.operators import roi_align


def most_losses(proposals: RegionProposals, heads: RegionHeads, maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Returns losses with the shapes of a step that draws as many anchors, regions and objects as it may.

    Which they are depends on values, so a pass without values cannot draw them: here they are the first ones, and each
    map has its share of the regions. A later stage of a cascade may match all regions. Boxes are drawn without
    gradients, in little memory, and are left out.

    Args:
        proposals: the proposal head.
        heads: the box and mask heads.
        maps: [B, C, h, w] for each stride.
    """
    maps = [image.contiguous() for image in maps]
    predictions = proposals(maps)
    settings, images = heads.settings, len(maps[0])
    anchors = min(settings.rpn_batch, sum(logit.shape[1] for logit in predictions.logits))
    logits = torch.cat(predictions.logits, 1).float()[:, :anchors]
    deltas = torch.cat(predictions.deltas, 1).float()[:, : int(anchors * settings.rpn_positive)]
    rpn = F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)) + deltas.abs().sum()
    regions = images * settings.roi_batch
    objects = images * int(settings.roi_batch * settings.roi_positive)
    labels = maps[0].new_zeros(regions, dtype=torch.int64)
    box = rpn.new_zeros(())
    for stage in range(settings.num_stages):
        scores, boxes = heads.predict(_pooled(heads, maps, regions, settings.box_pool), stage)
        own = boxes.float().view(regions, boxes.shape[1] // 4, 4)[: objects if stage == 0 else regions, 0]
        box = box + F.cross_entropy(scores.float(), labels, reduction="sum") + own.abs().sum()
    if heads.mask_head is None:
        return {"rpn": rpn, "box": box}
    masks = heads.mask_head(_pooled(heads, maps, objects, settings.mask_pool))
    targets = masks.new_zeros(objects, *masks.shape[2:], dtype=torch.bool)
    return {"rpn": rpn, "box": box, "mask": mask_loss(masks, labels[:objects], targets)}


def most_detections(proposals: RegionProposals, heads: RegionHeads, maps: Sequence[Tensor]) -> None:
    """Runs the heads on as many proposals and objects as an evaluation may find."""
    maps = [image.contiguous() for image in maps]
    proposals(maps)
    settings, images = heads.settings, len(maps[0])
    for stage in range(settings.num_stages):
        heads.predict(_pooled(heads, maps, images * settings.rpn_post_nms[1], settings.box_pool), stage)
    if heads.mask_head is not None:
        heads.mask_head(_pooled(heads, maps, images * settings.max_detections, settings.mask_pool))


def _pooled(heads: RegionHeads, maps: Sequence[Tensor], count: int, side: int) -> Tensor:
    """Returns `count` regions pooled as by `pool_regions`, an equal share from each map: [count, C, side, side]."""
    maps = maps[: len(heads.strides)]
    pooled = maps[0].new_zeros(count, maps[0].shape[1], side, side)
    with torch.autocast(maps[0].device.type, enabled=False):
        for level, (image, stride) in enumerate(zip(maps, heads.strides, strict=True)):
            rows = torch.arange(level, count, len(maps), device=image.device)
            boxes = image.new_zeros(len(rows), 5, dtype=torch.float32)
            seen = roi_align(image.float(), boxes, side, 1 / stride, 0, aligned=True)
            pooled.index_put_((rows,), seen.to(pooled.dtype))
    return pooled
