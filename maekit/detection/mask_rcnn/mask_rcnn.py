"""Mask R-CNN: proposals from a pyramid, and a class, a box and a mask for each."""

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maekit.detection.data.batch import InstanceMask
from maekit.detection.mask_rcnn.boxes import not_empty, sizes_of
from maekit.detection.mask_rcnn.roi_heads import RegionHeads
from maekit.detection.mask_rcnn.rpn import RegionProposals
from maekit.detection.mask_rcnn.select import rescaled, select
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import Detections, Truth
from maekit.errors import UserError
from maekit.system.size import HeightWidth


class MaskRCNN(nn.Module):
    """Mask R-CNN (He et al., 1703.06870) with the numbers and the names of detectron2's GeneralizedRCNN.

    Args:
        in_channels: of the pyramid's maps.
        num_classes: C, without background.
        settings: layers, sampling and selection.
        strides: of the maps, the largest map first; regions are pooled from all but the last.

    Raises:
        UserError: not one anchor size for each map.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        settings: MaskRCNNSettings,
        *,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
    ) -> None:
        super().__init__()
        check_anchor_sizes(settings, strides)
        self.settings = settings
        self.proposal_generator = RegionProposals(in_channels, strides, self.settings)
        self.roi_heads = RegionHeads(in_channels, num_classes, strides[:-1], self.settings)

    def losses(self, maps: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the five losses of one batch; anchors and regions to train on are drawn with torch's generator.

        Args:
            maps: [B, in_channels, h, w] for each stride.
            batch: the objects, on any device.

        Returns:
            Scalars: `rpn_cls` and `rpn_loc` of the proposals, `cls`, `box_reg` and `mask` of the regions. Their sum
            depends on every parameter, also without any object.
        """
        batch, maps = _moved(batch, maps[0].device), _by_channel(maps)
        predictions = self.proposal_generator(maps)
        rpn_cls, rpn_loc = self.proposal_generator.losses(predictions, batch.boxes)
        best = self.proposal_generator.best(predictions, batch.size, training=True)
        regions = self.roi_heads.losses(maps, [boxes for boxes, _ in best], batch)
        return {"rpn_cls": rpn_cls, "rpn_loc": rpn_loc, **regions}

    @torch.no_grad()
    def detect(self, maps: Sequence[Tensor], size: Tensor, original: Tensor) -> list[Detections]:
        """Returns the objects of each image.

        Args:
            maps: [B, in_channels, h, w] for each stride.
            size: int64 [B, 2], height and width of the images without their padding.
            original: int64 [B, 2], height and width in which the boxes are wanted.
        """
        maps = _by_channel(maps)
        best = self.proposal_generator.best(self.proposal_generator(maps), size, training=False)
        found = self._select(maps, [boxes for boxes, _ in best], size)
        logits = self.roi_heads.masks(maps, [boxes for boxes, _, _ in found]).float()
        labels = torch.cat([label for _, _, label in found])
        masks = logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()
        parts = torch.split(masks, [len(boxes) for boxes, _, _ in found])
        images = zip(found, parts, sizes_of(size), sizes_of(original), strict=True)
        return [_detections(*image, mask, a, b) for image, mask, a, b in images]

    def _select(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], size: Tensor
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Returns boxes, scores and labels of each image in its own pixels."""
        counts = [len(boxes) for boxes in proposals]
        logits, deltas = (torch.split(both, counts) for both in self.roi_heads.boxes(maps, proposals))
        return [
            select(
                *image,
                min_score=self.settings.min_score,
                nms_iou=self.settings.nms_iou,
                count=self.settings.max_detections,
                coder=self.roi_heads.coder,
            )
            for image in zip(logits, deltas, proposals, sizes_of(size), strict=True)
        ]


def check_anchor_sizes(settings: MaskRCNNSettings, strides: Sequence[int]) -> None:
    """Refuses anchor sizes that are not one for each map, with a UserError."""
    if len(settings.anchor_sizes) != len(strides):
        raise UserError(
            f"model.mask_rcnn.anchor_sizes: got {len(settings.anchor_sizes)} sizes, expected {len(strides)}, one for "
            f"each map of the pyramid (strides {', '.join(map(str, strides))})"
        )


def _by_channel(maps: Sequence[Tensor]) -> list[Tensor]:
    """Returns contiguous maps: RoIAlign needs them, and 3x3 convolutions on a CPU train faster on them."""
    return [image.contiguous() for image in maps]


class _Objects(NamedTuple):
    """A batch's objects on one device; see `Truth`."""

    size: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: Sequence[Sequence[InstanceMask]]


def _moved(batch: Truth, device: torch.device) -> _Objects:
    """Returns the objects on the device, without empty boxes, whose logarithm would make the loss infinite."""
    whole = [not_empty(boxes) for boxes in batch.boxes]
    boxes = [image[own].to(device, torch.float32) for image, own in zip(batch.boxes, whole, strict=True)]
    labels = [image[own].to(device) for image, own in zip(batch.labels, whole, strict=True)]
    masks = [list(compress(image, own.tolist())) for image, own in zip(batch.masks, whole, strict=True)]
    return _Objects(batch.size, boxes, labels, masks)


def _detections(
    boxes: Tensor, scores: Tensor, labels: Tensor, masks: Tensor, size: HeightWidth, original: HeightWidth
) -> Detections:
    """Returns one image's detections in the pixels of the original, without boxes that are empty there."""
    boxes = rescaled(boxes, size, original)
    kept = not_empty(boxes)
    return Detections(boxes[kept], scores[kept], labels[kept], masks[kept])
