"""torchvision's own Mask R-CNN modules with the widths and counts of COCO's recipes: the peer of maekit's heads."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from faster_coco_eval.core import mask as coco
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from maekit.detection.data.batch import DetBatch

NAMES = {
    "loss_objectness": "rpn_cls", "loss_rpn_box_reg": "rpn_loc", "loss_classifier": "cls", "loss_box_reg": "box_reg",
    "loss_mask": "mask",
}  # fmt: skip


def build(settings: Mapping[str, Any], num_classes: int, width: int = 256) -> nn.ModuleDict:
    """`rpn` and `roi_heads` as its own `MaskRCNN` puts them together, with LayerNorm and detectron2's RoIAlign grid."""
    s = settings
    channels, norm = s["head_channels"], partial(LayerNorm2d, eps=1e-6)
    ratios = (tuple(s["anchor_ratios"]),) * len(s["anchor_sizes"])
    rpn = RegionProposalNetwork(
        AnchorGenerator(tuple((size,) for size in s["anchor_sizes"]), ratios),
        RPNHead(width, len(s["anchor_ratios"]), s["num_rpn_convs"]),
        s["rpn_iou"][1], s["rpn_iou"][0], s["rpn_batch"], s["rpn_positive"],
        *({"training": two[0], "testing": two[1]} for two in (s["rpn_pre_nms"], s["rpn_post_nms"])), s["rpn_nms_iou"],
    )  # fmt: skip
    pool = partial(MultiScaleRoIAlign, ["0", "1", "2", "3"], sampling_ratio=0)
    side, classes = s["box_pool"], num_classes + 1
    roi_heads = RoIHeads(
        pool(output_size=side),
        FastRCNNConvFCHead((width, side, side), [channels] * s["num_box_convs"], [s["fc_channels"]], norm),
        FastRCNNPredictor(s["fc_channels"], classes),
        s["roi_iou"], s["roi_iou"], s["roi_batch"], s["roi_positive"], tuple(s["box_weights"]),
        s["min_score"], s["nms_iou"], s["max_detections"],
        pool(output_size=s["mask_pool"]), MaskRCNNHeads(width, [channels] * s["num_mask_convs"], 1, norm),
        MaskRCNNPredictor(channels, channels, classes),
    )  # fmt: skip
    return nn.ModuleDict({"rpn": rpn, "roi_heads": roi_heads})


@torch.no_grad()
def load(model: nn.ModuleDict, weights: Mapping[str, Tensor]) -> None:
    """Copies maekit's weights, whose order is the same; torchvision's background is the first class, not the last."""
    for (name, own), theirs in zip(weights.items(), model.parameters(), strict=True):
        if "cls_score" in name:
            theirs.copy_(own.roll(1, 0))
        else:  # boxes and masks of a class have a row for the background, which is not used
            theirs[len(theirs) - len(own) :] = own


def targets(batch: DetBatch) -> list[dict[str, Tensor]]:
    """Boxes, labels from 1 and bitmaps of whole images, as torchvision is given them."""
    side = batch.image.shape[-1]
    found = []
    for boxes, labels, masks in zip(batch.boxes, batch.labels, batch.masks, strict=True):
        outlines = [[points.tolist() for points in mask.polygons] for mask in masks]
        bitmaps = [coco.decode(coco.merge(coco.frPyObjects(polygons, side, side))) for polygons in outlines]
        stacked = torch.stack([torch.from_numpy(bitmap) for bitmap in bitmaps])
        found.append({"boxes": boxes, "labels": labels + 1, "masks": stacked})
    return found


def losses(
    model: nn.ModuleDict, maps: Sequence[Tensor], truth: list[dict[str, Tensor]], side: int
) -> dict[str, Tensor]:
    """Its five losses by maekit's names."""
    sizes = [(side, side)] * len(truth)
    images = ImageList(maps[0].new_empty(len(truth), 3, side, side), sizes)
    features = {str(level): one for level, one in enumerate(maps)}
    proposals, of_rpn = model["rpn"](images, features, truth)
    _, of_regions = model["roi_heads"](features, proposals, sizes, truth)
    return {ours: (of_rpn | of_regions)[theirs] for theirs, ours in NAMES.items()}
