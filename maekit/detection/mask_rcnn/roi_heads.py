"""The heads on regions of the pyramid: they predict a class, a box and a mask for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maekit.detection.host import to_host, upload
from maekit.detection.mask_rcnn.box_head import BoxHead, BoxPredictor
from maekit.detection.mask_rcnn.boxes import BoxCoder
from maekit.detection.mask_rcnn.losses import mask_loss, region_losses
from maekit.detection.mask_rcnn.mask_head import MaskHead
from maekit.detection.mask_rcnn.mask_targets import mask_targets
from maekit.detection.mask_rcnn.matching import draw_regions
from maekit.detection.mask_rcnn.pooling import pool_regions
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import IGNORED, Regions, Truth


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
        """Returns logits [R, C + 1] and deltas [R, C * 4] of regions, B times [R_i, 4], R in all, of host memory."""
        pooled = pool_regions(maps[: len(self.strides)], self.strides, regions, self.settings.box_pool)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits, deltas

    def masks(self, maps: Sequence[Tensor], regions: Sequence[Tensor]) -> Tensor:
        """Returns logits [R, C, M, M] of regions, B times [R_i, 4], of the host's memory."""
        pooled = pool_regions(maps[: len(self.strides)], self.strides, regions, self.settings.mask_pool)
        logits: Tensor = self.mask_head(pooled)
        return logits

    def draw(self, proposals: Sequence[Tensor], batch: Truth) -> tuple[list[Regions], list[Tensor]]:
        """Draws regions to train on, from the proposals [P, 4] of each image and the boxes of its objects.

        Returns:
            The regions and the objects' boxes [K, 4] of each image in the host's memory: what follows is decided by
            them, and this is the one copy that waits for an accelerator.
        """
        drawn = [
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
        parts = to_host([*(part for regions in drawn for part in regions), *batch.boxes])
        regions = [Regions(*parts[3 * number : 3 * number + 3]) for number in range(len(drawn))]
        return [_without_ignored(image) for image in regions], parts[3 * len(drawn) :]

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the losses `cls`, `box_reg` and `mask` of regions that are drawn here."""
        regions, true = self.draw(proposals, batch)
        logits, deltas = self.boxes(maps, [region.boxes for region in regions])
        cls, box_reg = region_losses(logits, deltas, regions, true, self.coder)
        return {"cls": cls, "box_reg": box_reg, "mask": self._mask_loss(maps, regions, batch)}

    def _mask_loss(self, maps: Sequence[Tensor], regions: Sequence[Regions], batch: Truth) -> Tensor:
        """Returns the mask loss of the regions that are objects; the head runs without any too, as DDP expects."""
        seen = [Regions(*(part[region.labels < self.num_classes] for part in region)) for region in regions]
        logits = self.masks(maps, [region.boxes for region in seen])
        targets = [
            mask_targets(masks, region.objects, region.boxes, logits.shape[-1])
            for masks, region in zip(batch.masks, seen, strict=True)
        ]
        labels = torch.cat([region.labels for region in seen])
        return mask_loss(logits, *(upload(part, logits.device) for part in (labels, torch.cat(targets))))


def _without_ignored(regions: Regions) -> Regions:
    """Returns the regions that were drawn, without the rows that were not."""
    kept = regions.labels != IGNORED
    return Regions(*(part[kept] for part in regions))
