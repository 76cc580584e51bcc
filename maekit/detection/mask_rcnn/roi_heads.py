"""The heads on regions of the pyramid: they predict a class, a box and a mask for each."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maekit.detection.host import to_host, upload
from maekit.detection.mask_rcnn.box_head import BoxHead, BoxPredictor
from maekit.detection.mask_rcnn.boxes import BoxCoder, sizes_of
from maekit.detection.mask_rcnn.cascade import labelled, next_boxes, scaled_gradient
from maekit.detection.mask_rcnn.losses import mask_loss, region_losses
from maekit.detection.mask_rcnn.mask_head import MaskHead
from maekit.detection.mask_rcnn.mask_targets import mask_targets
from maekit.detection.mask_rcnn.matching import draw_regions
from maekit.detection.mask_rcnn.pooling import pool_regions
from maekit.detection.mask_rcnn.select import Selected, select
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import IGNORED, Regions, Truth
from maekit.system.size import HeightWidth


class Drawn(NamedTuple):
    """What a training step looks at, in the host's memory.

    Attributes:
        regions: of each image.
        boxes: of each image's objects, float32 [K, 4].
        labels: of each image's objects, int64 [K].
        sizes: of the images without their padding.
    """

    regions: list[Regions]
    boxes: list[Tensor]
    labels: list[Tensor]
    sizes: list[HeightWidth]


class RegionHeads(nn.Module):
    """Box heads and a mask head on regions that are pooled from all of the pyramid's maps but the last.

    Names are detectron2's: of a cascade the stages' `box_head` and `box_predictor` are numbered from 0.

    Args:
        channels: of the maps.
        num_classes: C, without background.
        strides: of the maps that regions are pooled from.
        settings: layers, sampling and selection.
        masks: whether objects have shapes; without them there is no mask head.
    """

    def __init__(
        self, channels: int, num_classes: int, strides: Sequence[int], settings: MaskRCNNSettings, *, masks: bool = True
    ) -> None:
        super().__init__()
        self.settings, self.num_classes, self.strides = settings, num_classes, tuple(strides)
        count = settings.num_stages
        self.coders = [BoxCoder(settings.stage_box_weights(stage)) for stage in range(count)]
        heads = [_box_head(channels, settings) for _ in range(count)]
        predictors = [BoxPredictor(settings.fc_channels, num_classes, box_each=count == 1) for _ in range(count)]
        self.box_head = heads[0] if count == 1 else nn.ModuleList(heads)
        self.box_predictor = predictors[0] if count == 1 else nn.ModuleList(predictors)
        self.mask_head = _mask_head(channels, num_classes, settings) if masks else None

    def predict(self, pooled: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """Returns logits [R, C + 1] and deltas, [R, C * 4] or of a cascade [R, 4], of pooled regions in a stage."""
        head, predictor = self.box_head, self.box_predictor
        if isinstance(head, nn.ModuleList) and isinstance(predictor, nn.ModuleList):
            pooled = scaled_gradient(pooled, 1 / len(head))
            logits, deltas = predictor[stage](head[stage](pooled))
        else:
            logits, deltas = predictor(head(pooled))
        return logits, deltas

    def boxes(self, maps: Sequence[Tensor], regions: Sequence[Tensor], stage: int = 0) -> tuple[Tensor, Tensor]:
        """Returns a stage's logits and deltas of regions, B times [R_i, 4], R in all, of the host's memory."""
        return self.predict(
            pool_regions(maps[: len(self.strides)], self.strides, regions, self.settings.box_pool), stage
        )

    def masks(self, maps: Sequence[Tensor], regions: Sequence[Tensor]) -> Tensor:
        """Returns logits [R, C, M, M] of regions, B times [R_i, 4], of the host's memory."""
        assert self.mask_head is not None
        pooled = pool_regions(maps[: len(self.strides)], self.strides, regions, self.settings.mask_pool)
        logits: Tensor = self.mask_head(pooled)
        return logits

    def detect(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[HeightWidth]
    ) -> list[Selected]:
        """Returns the detections of each image.

        Scores are the mean over the stages, boxes those of the last one.

        Args:
            maps: [B, channels, h, w] for each stride.
            proposals: of each image [P_i, 4], in the host's memory.
            sizes: of the images without their padding.
        """
        regions, (logits, deltas) = list(proposals), self.boxes(maps, proposals)
        scores = logits.float().softmax(-1)
        for stage in range(1, len(self.coders)):
            regions = next_boxes(deltas, regions, self.coders[stage - 1], sizes)
            logits, deltas = self.boxes(maps, regions, stage)
            scores = scores + logits.float().softmax(-1)
        return select(
            scores * (1 / len(self.coders)),
            deltas,
            regions,
            sizes,
            min_score=self.settings.min_score,
            nms_iou=self.settings.nms_iou,
            count=self.settings.max_detections,
            coder=self.coders[-1],
        )

    def draw(self, proposals: Sequence[Tensor], batch: Truth) -> Drawn:
        """Draws regions to train on, from the proposals [P, 4] of each image and the boxes of its objects.

        They lie in the host's memory: what follows is decided by them, and this is the one copy that waits for an
        accelerator, but for those between the stages of a cascade.
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
        copied = iter(to_host([*(part for one in drawn for part in one), *batch.boxes, *batch.labels, batch.size]))
        regions = [_without_ignored(Regions(*islice(copied, 3))) for _ in drawn]
        boxes, labels = (list(islice(copied, len(drawn))) for _ in range(2))
        return Drawn(regions, boxes, labels, sizes_of(next(copied)))

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the losses of regions that are drawn here: `cls`, `box_reg` and, where objects have shapes, `mask`.

        Those of a cascade's stages are `cls_stage0`, `box_reg_stage0` and so on, as detectron2 calls them.
        """
        drawn = self.draw(proposals, batch)
        losses: dict[str, Tensor] = {}
        regions, last = drawn.regions, len(self.coders) - 1
        for stage, coder in enumerate(self.coders):
            logits, deltas = self.boxes(maps, [region.boxes for region in regions], stage)
            cls, box_reg = region_losses(logits, deltas, regions, drawn.boxes, coder)
            which = f"_stage{stage}" if last else ""
            losses |= {f"cls{which}": cls, f"box_reg{which}": box_reg}
            if stage < last:
                regions = self._next_regions(deltas, regions, drawn, stage)
        if self.mask_head is not None:
            losses["mask"] = self._mask_loss(maps, drawn.regions, batch)
        return losses

    def _next_regions(self, deltas: Tensor, regions: Sequence[Regions], drawn: Drawn, stage: int) -> list[Regions]:
        """Returns the boxes that a stage predicts, matched with the objects by the overlap of the next one."""
        boxes = next_boxes(deltas, [region.boxes for region in regions], self.coders[stage], drawn.sizes)
        iou = self.settings.stage_iou(stage + 1)
        images = zip(boxes, drawn.boxes, drawn.labels, strict=True)
        return [labelled(*image, num_classes=self.num_classes, iou=iou) for image in images]

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


def _box_head(channels: int, settings: MaskRCNNSettings) -> BoxHead:
    return BoxHead(
        channels,
        settings.head_channels,
        settings.fc_channels,
        num_convs=settings.num_box_convs,
        side=settings.box_pool,
        norm=settings.norm,
    )


def _mask_head(channels: int, num_classes: int, settings: MaskRCNNSettings) -> MaskHead:
    return MaskHead(
        channels, settings.head_channels, num_classes, num_convs=settings.num_mask_convs, norm=settings.norm
    )
