"""The same Mask R-CNN, cascade or boxes only, run by detectron2's own modules where it is installed."""

from collections.abc import Sequence
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn

from maekit.detection.data.batch import InstanceMask
from maekit.detection.detectron2.modules import part, proposal_generator, region_heads
from maekit.detection.mask_rcnn.boxes import not_empty, sizes_of
from maekit.detection.mask_rcnn.mask_rcnn import check_anchor_sizes
from maekit.detection.mask_rcnn.select import rescaled
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import Detections, Truth
from maekit.system.size import HeightWidth


class _Boxes(Protocol):
    tensor: Tensor


class _Found(Protocol):
    """detectron2's Instances of one image: boxes [K, 4], scores [K], classes [K] and masks [K, 1, M, M]."""

    pred_boxes: _Boxes
    scores: Tensor
    pred_classes: Tensor
    pred_masks: Tensor


class Detectron2MaskRCNN(nn.Module):
    """`MaskRCNN` made of detectron2's RPN and heads of regions: same arguments, names of weights and results.

    Raises:
        UserError: detectron2 is not installed, or as `MaskRCNN`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        settings: MaskRCNNSettings,
        *,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        masks: bool = True,
    ) -> None:
        super().__init__()
        check_anchor_sizes(settings, strides)
        self.levels = [f"p{number}" for number in range(2, 2 + len(strides))]
        self.with_masks = masks
        self.proposal_generator = proposal_generator(in_channels, self.levels, strides, settings)
        self.roi_heads = region_heads(in_channels, num_classes, self.levels[:-1], strides[:-1], settings, masks=masks)

    def losses(self, maps: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the losses of one batch; see `MaskRCNN.losses`."""
        self.train()
        truth = self._instances(batch, maps[0].device)
        images, features = self._images(maps, batch.size), dict(zip(self.levels, maps, strict=True))
        with part("utils.events").EventStorage():  # detectron2 logs there, and raises without one
            proposals, losses = self.proposal_generator(images, features, truth)
            losses = losses | self.roi_heads(images, features, proposals, truth)[1]
        return {name.removeprefix("loss_"): loss for name, loss in losses.items()}

    @torch.no_grad()
    def detect(self, maps: Sequence[Tensor], size: Tensor, original: Tensor) -> list[Detections]:
        """Returns the objects of each image; see `MaskRCNN.detect`."""
        self.eval()
        images, features = self._images(maps, size), dict(zip(self.levels, maps, strict=True))
        proposals, _ = self.proposal_generator(images, features, None)
        found, _ = self.roi_heads(images, features, proposals, None)
        return [
            _detections(image, inside, outside, masks=self.with_masks)
            for image, inside, outside in zip(found, sizes_of(size), sizes_of(original), strict=True)
        ]

    def _images(self, maps: Sequence[Tensor], size: Tensor) -> object:
        """Returns an ImageList without pixels: the heads need the sizes only."""
        return part("structures").ImageList(maps[0].new_empty(len(size), 3, 1, 1), sizes_of(size))

    def _instances(self, batch: Truth, device: torch.device) -> list[object]:
        structures = part("structures")
        images = zip(sizes_of(batch.size), batch.boxes, batch.labels, batch.masks, strict=True)
        instances = []
        for size, boxes, labels, masks in images:
            image = structures.Instances(size)
            image.gt_boxes = structures.Boxes(boxes.to(device))
            image.gt_classes = labels.to(device)
            if self.with_masks:
                image.gt_masks = _shapes(structures, masks)
            instances.append(image)
        return instances


def _shapes(structures: ModuleType, masks: Sequence[InstanceMask]) -> object:
    """Returns an image's shapes, all as polygons or else all as bitmaps, since detectron2 cannot mix them."""
    if all(mask.bitmap is None for mask in masks):
        return structures.PolygonMasks([list(mask.polygons) for mask in masks])
    height, width = next(mask.bitmap.shape for mask in masks if mask.bitmap is not None)
    draw = part("structures.masks").polygons_to_bitmask
    bitmaps = [draw(list(m.polygons), height, width) if m.bitmap is None else m.bitmap for m in masks]
    return structures.BitMasks(torch.stack([torch.from_numpy(bitmap) for bitmap in bitmaps]))


def _detections(image: _Found, size: HeightWidth, original: HeightWidth, *, masks: bool) -> Detections:
    boxes = rescaled(image.pred_boxes.tensor, size, original)
    kept = not_empty(boxes)
    shapes = image.pred_masks[kept, 0].float() if masks else None
    return Detections(boxes[kept], image.scores[kept], image.pred_classes[kept], shapes)
