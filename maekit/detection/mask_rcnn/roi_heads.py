"""The heads on regions of the pyramid: they predict a class, a box and a mask for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from maekit.detection.mask_rcnn.box_head import BoxHead, BoxPredictor
from maekit.detection.mask_rcnn.losses import mask_loss, region_losses
from maekit.detection.mask_rcnn.mask_head import MaskHead
from maekit.detection.mask_rcnn.mask_targets import mask_targets
from maekit.detection.mask_rcnn.matching import draw_regions
from maekit.detection.mask_rcnn.pooling import pool_regions
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import Regions, Truth


class RegionHeads(nn.Module):
    """Box and mask heads on regions that are pooled from all of the pyramid's maps but the last."""

    def __init__(self, channels: int, num_classes: int, strides: Sequence[int], settings: MaskRCNNSettings) -> None:
        super().__init__()
        self.settings, self.num_classes, self.strides = settings, num_classes, tuple(strides)
        wx, wy, ww, wh = settings.box_weights
        self.coder = BoxCoder((wx, wy, ww, wh))
        self.box_head = BoxHead(
            channels,
            settings.head_channels,
            settings.fc_channels,
            num_convs=settings.num_box_convs,
            side=settings.box_pool,
            norm=settings.norm,
        )
        self.box_predictor = BoxPredictor(settings.fc_channels, num_classes)
        self.mask_head = MaskHead(
            channels, settings.head_channels, num_classes, num_convs=settings.num_mask_convs, norm=settings.norm
        )

    def boxes(self, maps: Sequence[Tensor], regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns logits [R, C + 1] and deltas [R, C * 4] of regions, B times [R_i, 4], R in all."""
        pooled = pool_regions(maps[: len(self.strides)], self.strides, regions, self.settings.box_pool)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits, deltas

    def masks(self, maps: Sequence[Tensor], regions: Sequence[Tensor]) -> Tensor:
        """Returns logits [R, C, M, M] of regions, B times [R_i, 4]."""
        pooled = pool_regions(maps[: len(self.strides)], self.strides, regions, self.settings.mask_pool)
        logits: Tensor = self.mask_head(pooled)
        return logits

    def draw(self, proposals: Sequence[Tensor], batch: Truth) -> list[Regions]:
        """Draws regions to train on, from the proposals [P, 4] of each image and the boxes of its objects."""
        return [
            draw_regions(
                image,
                boxes,
                labels,
                num_classes=self.num_classes,
                iou=self.settings.roi_iou,
                count=self.settings.roi_batch,
                positive=self.settings.roi_positive,
            )
            for image, boxes, labels in zip(proposals, batch.boxes, batch.labels, strict=True)
        ]

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the losses `cls`, `box_reg` and `mask` of regions that are drawn here."""
        regions = self.draw(proposals, batch)
        logits, deltas = self.boxes(maps, [region.boxes for region in regions])
        cls, box_reg = region_losses(logits, deltas, regions, batch.boxes, self.coder)
        return {"cls": cls, "box_reg": box_reg, "mask": self._mask_loss(maps, regions, batch)}

    def _mask_loss(self, maps: Sequence[Tensor], regions: Sequence[Regions], batch: Truth) -> Tensor:
        """Returns the mask loss of the regions that are objects; the head runs without any too, as DDP expects."""
        seen = [region.labels < self.num_classes for region in regions]
        boxes = [region.boxes[own] for region, own in zip(regions, seen, strict=True)]
        logits = self.masks(maps, boxes)
        targets = [
            mask_targets(masks, region.objects[own], box, logits.shape[-1])
            for masks, region, own, box in zip(batch.masks, regions, seen, boxes, strict=True)
        ]
        labels = [region.labels[own] for region, own in zip(regions, seen, strict=True)]
        return mask_loss(logits, torch.cat(labels), torch.cat(targets))
