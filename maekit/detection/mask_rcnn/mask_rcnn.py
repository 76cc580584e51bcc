"""Mask R-CNN: proposals from a pyramid, and a class, a box and a mask for each; also a cascade, and boxes only.

On an accelerator the host waits twice in a training step, however many images and maps there are: for the suppression
of proposals, whose kernel reads how many are left (`suppression`), and for the drawn regions, in one copy: their masks
are drawn on the host, and their number and sizes decide the shapes of what follows (`roi_heads`). `detect` waits five
times a batch. Each stage of a cascade after the first waits once more, for the boxes of the one before (`cascade`).
What the numbers do not need is of fixed shape (`matching`), and copies to the device are not waited for.
`benchmarks/README.md` lists all waits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maekit.base.memory_format import MapModule
from maekit.detection.data.batch import InstanceMask
from maekit.detection.host import to_host, upload
from maekit.detection.mask_rcnn.boxes import not_empty, sizes_of
from maekit.detection.mask_rcnn.roi_heads import RegionHeads
from maekit.detection.mask_rcnn.rpn import RegionProposals
from maekit.detection.mask_rcnn.select import Selected, rescaled
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import Detections, Truth
from maekit.errors import UserError
from maekit.system.size import HeightWidth


class MaskRCNN(MapModule):
    """Mask R-CNN (He et al., 1703.06870) with the numbers and the names of detectron2's GeneralizedRCNN.

    Args:
        in_channels: of the pyramid's maps.
        num_classes: C, without background.
        settings: layers, sampling and selection.
        strides: of the maps, the largest map first; regions are pooled from all but the last.
        masks: whether objects have shapes; False makes it a Faster R-CNN (Ren et al., 1506.01497) with these numbers.

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
        masks: bool = True,
    ) -> None:
        super().__init__()
        check_anchor_sizes(settings, strides)
        self.settings = settings
        self.proposal_generator = RegionProposals(in_channels, strides, self.settings)
        self.roi_heads = RegionHeads(in_channels, num_classes, strides[:-1], self.settings, masks=masks)

    def losses(self, maps: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the losses of one batch; anchors and regions to train on are drawn with torch's generator.

        Args:
            maps: [B, in_channels, h, w] for each stride.
            batch: the objects, on any device.

        Returns:
            Scalars: `rpn_cls` and `rpn_loc` of the proposals, and those of the regions; see `RegionHeads.losses`. Their
            sum depends on every parameter, also without any object.
        """
        batch, maps = _moved(batch, maps[0].device), [self.laid_out(image) for image in maps]
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
            size: int64 [B, 2], height and width of the images without their padding, on any device.
            original: int64 [B, 2], height and width in which the boxes are wanted, on any device.
        """
        maps = [self.laid_out(image) for image in maps]
        inside = size.to(maps[0].device, non_blocking=True)
        best = self.proposal_generator.best(self.proposal_generator(maps), inside, training=False)
        *proposals, inside, outside = to_host([*(boxes for boxes, _ in best), size, original])
        proposals, sizes = [boxes[not_empty(boxes)] for boxes in proposals], sizes_of(inside)
        found = self.roi_heads.detect(maps, proposals, sizes)
        images = zip(found, self._masks(maps, found), sizes, sizes_of(outside), strict=True)
        return [_detections(*image) for image in images]

    def _masks(self, maps: Sequence[Tensor], found: Sequence[Selected]) -> Sequence[Tensor | None]:
        """Returns the probabilities [K, M, M] of each image's detections; None without a mask head."""
        if self.roi_heads.mask_head is None:
            return [None] * len(found)
        logits = self.roi_heads.masks(maps, [image.boxes for image in found]).float()
        labels = upload(torch.cat([image.labels for image in found]), logits.device)
        masks = logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()
        return torch.split(masks, [len(image.boxes) for image in found])


def check_anchor_sizes(settings: MaskRCNNSettings, strides: Sequence[int]) -> None:
    """Refuses anchor sizes that are not one for each map, with a UserError."""
    if len(settings.anchor_sizes) != len(strides):
        raise UserError(
            f"model.mask_rcnn.anchor_sizes: got {len(settings.anchor_sizes)} sizes, expected {len(strides)}, one for "
            f"each map of the pyramid (strides {', '.join(map(str, strides))})"
        )


class _Objects(NamedTuple):
    """A batch's objects on one device; see `Truth`."""

    size: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: Sequence[Sequence[InstanceMask]]


def _moved(batch: Truth, device: torch.device) -> _Objects:
    """Returns the objects on the device; of an empty box, whose logarithm would make the loss infinite, zeros."""
    moved = [boxes.to(device, torch.float32, non_blocking=True) for boxes in batch.boxes]
    boxes = [torch.where(not_empty(image)[:, None], image, 0.0) for image in moved]
    labels = [image.to(device, non_blocking=True) for image in batch.labels]
    return _Objects(batch.size.to(device, non_blocking=True), boxes, labels, batch.masks)


def _detections(found: Selected, masks: Tensor | None, size: HeightWidth, original: HeightWidth) -> Detections:
    """Returns one image's detections in the pixels of the original, without boxes that are empty there."""
    boxes = rescaled(found.boxes, size, original)
    rows = not_empty(boxes).nonzero()[:, 0]
    kept = Selected(*(part[rows] for part in found._replace(boxes=boxes)))
    return Detections(*kept, masks=None if masks is None else masks[upload(rows, masks.device)])
