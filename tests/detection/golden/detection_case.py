"""One small Mask R-CNN with its input, made of numbers that are the same on every machine."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maekit.detection.data.batch import DetBatch, InstanceMask
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings

CHANNELS, CLASSES, SIDE = 16, 5, 256
STRIDES = (4, 8, 16, 32, 64)

# ViTDet's numbers (detectron2, configs/common/models/mask_rcnn_vitdet.py), as published.
PUBLISHED: dict[str, Any] = {
    "norm": "LN",
    "num_rpn_convs": 2,
    "num_box_convs": 4,
    "num_mask_convs": 4,
    "head_channels": 256,
    "fc_channels": 1024,
    "anchor_sizes": [32, 64, 128, 256, 512],
    "anchor_ratios": [0.5, 1.0, 2.0],
    "rpn_iou": [0.3, 0.7],
    "rpn_batch": 256,
    "rpn_positive": 0.5,
    "rpn_pre_nms": [2000, 1000],
    "rpn_post_nms": [1000, 1000],
    "rpn_nms_iou": 0.7,
    "roi_iou": 0.5,
    "roi_batch": 512,
    "roi_positive": 0.25,
    "box_pool": 7,
    "mask_pool": 14,
    "box_weights": [10.0, 10.0, 5.0, 5.0],
    "min_score": 0.05,
    "nms_iou": 0.5,
    "max_detections": 100,
}
NARROW: dict[str, Any] = {"head_channels": 16, "fc_channels": 32}
# Its Cascade Mask R-CNN's (projects/ViTDet/configs/COCO/cascade_mask_rcnn_vitdet_b_100ep.py), of the later stages.
CASCADE: dict[str, Any] = {
    "cascade_iou": [0.6, 0.7],
    "cascade_box_weights": [[20.0, 20.0, 10.0, 10.0], [30.0, 30.0, 15.0, 15.0]],
}
# So many are drawn that all are, and so few kept that the arrays stay small.
EXHAUSTIVE: dict[str, Any] = {
    "rpn_batch": 2**15,
    "roi_batch": 2**10,
    "roi_positive": 0.5,
    "rpn_pre_nms": [60, 40],
    "rpn_post_nms": [120, 80],
    "max_detections": 12,
}


def settings(*changes: dict[str, Any], **more: Any) -> MaskRCNNSettings:
    """The published numbers with changes; of one number the last change counts."""
    values = dict(PUBLISHED)
    for change in (*changes, more):
        values |= change
    return MaskRCNNSettings(**values)


def fill(module: nn.Module, seed: int = 7) -> None:
    """Puts weights and statistics into a module that no initialisation would give, so that a mix-up shows."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in sorted(module.state_dict().items()):
            if not value.is_floating_point():
                continue
            draws = torch.from_numpy(rng.standard_normal(tuple(value.shape), dtype=np.float32))
            if name.endswith("running_var"):
                value.copy_(draws.abs() + 0.5)
            elif value.dim() > 1:
                scale = 0.4 if "bbox_pred" in name else 2.5 if "cls_score" in name else 1.4
                value.copy_(draws * scale / value[0].numel() ** 0.5)
            else:
                value.copy_(draws * 0.1 + float(name.endswith("norm.weight")))


def maps(channels: int = CHANNELS) -> list[Tensor]:
    """A pyramid of two images of `SIDE` pixels, with gradients."""
    rng = np.random.default_rng(11)
    shapes = [(2, channels, SIDE // stride, SIDE // stride) for stride in STRIDES]
    return [torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).requires_grad_() for shape in shapes]


def sizes() -> tuple[Tensor, Tensor]:
    """Heights and widths without padding, and those of the files, whose boxes the detections are in."""
    return torch.tensor([[256, 200], [180, 256]]), torch.tensor([[251, 197], [91, 128]])


def batch() -> DetBatch:
    """Three objects of polygons in the first image, one of two parts and partly outside; none in the second."""
    shapes = (
        ([10, 20, 100, 30, 80, 120.5, 15, 90], [60.0, 100, 99.5, 118, 75, 119]),
        ([50, 60, 70, 60, 70.25, 90, 55, 80],),
        ([-9, 3, 140, 3, 140, 199, 77, 140],),
    )
    masks = [InstanceMask(tuple(np.array(part, dtype=np.float64) for part in parts), None) for parts in shapes]
    boxes = torch.tensor([[10, 20, 100, 120.5], [50, 60, 70.25, 90], [0, 3, 140, 199]])
    return DetBatch(
        image=torch.zeros(2, 3, SIDE, SIDE),
        size=sizes()[0],
        boxes=[boxes, torch.zeros(0, 4)],
        labels=[torch.tensor([0, 4, 2]), torch.zeros(0, dtype=torch.int64)],
        masks=[masks, []],
        index=torch.arange(2),
    )


def empty_batch() -> DetBatch:
    """The same images without any object."""
    nothing = torch.zeros(0, dtype=torch.int64)
    return batch()._replace(boxes=[torch.zeros(0, 4)] * 2, labels=[nothing, nothing], masks=[[], []])
