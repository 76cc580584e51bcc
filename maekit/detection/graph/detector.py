"""A trained detector whose outputs have fixed shapes, so that it can be traced and run by other programs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maekit.detection.graph.pooling import pool_fixed
from maekit.detection.graph.proposals import fixed_proposals
from maekit.detection.graph.select import FixedDetections, fixed_detections
from maekit.detection.mask_rcnn.boxes import clipped_each
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN


class FixedDetector(nn.Module):
    """A backbone, its pyramid and a Mask R-CNN, a cascade or boxes alone; it shares their layers.

    It finds what `MaskRCNN.detect` finds, up to boxes whose scores or overlaps are equal but for rounding.

    Args:
        backbone: images [B, C, S, S] to features.
        pyramid: maps to p2 to p6.
        detector: on the pyramid.
        taps: the blocks after which the backbone gives a map.
        side: S in pixels.
    """

    def __init__(
        self, backbone: nn.Module, pyramid: nn.Module, detector: MaskRCNN, *, taps: Sequence[int], side: int
    ) -> None:
        super().__init__()
        self.backbone, self.pyramid, self.detector = backbone, pyramid, detector
        self.taps, self.side = list(taps), side

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        return (*FixedDetections._fields, *(() if self.detector.roi_heads.mask_head is None else ("masks",)))

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Returns the detections of each image, in pixels of the square image: `FixedDetections` and `masks`.

        Args:
            images: [B, C, S, S], normalised, padded with zeros below and on the right.
            sizes: int64 [B, 2], height and width of the picture in each.

        Returns:
            count [B], boxes [B, D, 4], scores [B, D], labels [B, D], and of a detector of masks the probabilities
            [B, D, M, M] of the cells of each box.
        """
        maps = [self.detector.laid_out(level) for level in self.pyramid(self.backbone(images, taps=self.taps).maps)]
        proposals, there = self._proposals(maps, sizes)
        found = self._detections(maps, proposals, there, sizes)
        masks = () if self.detector.roi_heads.mask_head is None else (self._masks(maps, found),)
        return (*found, *masks)  # a plain tuple: torch.export writes no named one into a file

    def _proposals(self, maps: Sequence[Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
        generator, settings = self.detector.proposal_generator, self.detector.settings
        return fixed_proposals(
            generator(maps),
            sizes,
            pre_nms=settings.rpn_pre_nms[1],
            post_nms=settings.rpn_post_nms[1],
            nms_iou=settings.rpn_nms_iou,
            coder=generator.coder,
            reach=self.side,
        )

    def _detections(self, maps: Sequence[Tensor], proposals: Tensor, there: Tensor, sizes: Tensor) -> FixedDetections:
        heads, settings = self.detector.roi_heads, self.detector.settings
        regions, (logits, deltas) = proposals, self._predicted(maps, proposals, there, 0)
        scores = logits.softmax(-1)
        for stage in range(1, len(heads.coders)):
            boxes = heads.coders[stage - 1].decode(deltas, regions)
            boxes = torch.where(boxes.isfinite().all(-1, keepdim=True), boxes, 0.0)
            regions = clipped_each(boxes, sizes[:, None])
            logits, deltas = self._predicted(maps, regions, there, stage)
            scores = scores + logits.softmax(-1)
        return fixed_detections(
            scores * (1 / len(heads.coders)),
            deltas,
            regions,
            there,
            sizes,
            min_score=settings.min_score,
            nms_iou=settings.nms_iou,
            count=settings.max_detections,
            coder=heads.coders[-1],
            reach=self.side,
        )

    def _predicted(self, maps: Sequence[Tensor], regions: Tensor, there: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """Returns a stage's logits [B, P, C + 1] and deltas [B, P, C * 4 or 4] of regions [B, P, 4], in float32."""
        heads = self.detector.roi_heads
        pooled = pool_fixed(maps[: len(heads.strides)], heads.strides, regions, there, heads.settings.box_pool)
        logits, deltas = heads.predict(pooled, stage)
        logits, deltas = (part.float().view(*there.shape, part.shape[1]) for part in (logits, deltas))
        return logits, deltas

    def _masks(self, maps: Sequence[Tensor], found: FixedDetections) -> Tensor:
        """Returns the probabilities [B, D, M, M] of the cells of each detection, zeros where there is none."""
        heads = self.detector.roi_heads
        assert heads.mask_head is not None
        there = found.scores > 0
        pooled = pool_fixed(maps[: len(heads.strides)], heads.strides, found.boxes, there, heads.settings.mask_pool)
        logits = heads.mask_head(pooled).float()
        side = logits.shape[-1]
        own = found.labels.flatten()[:, None, None, None].expand(-1, 1, side, side)
        masks = logits.gather(1, own).sigmoid().view(*there.shape, side, side)
        return torch.where(there[..., None, None], masks, 0.0)
