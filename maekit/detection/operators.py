"""torchvision's operators for boxes, imported without torch's compiler."""

from maekit.system.late_compiler import import_torchvision

import_torchvision()

from torchvision.models.detection._utils import BalancedPositiveNegativeSampler  # noqa: E402
from torchvision.ops import batched_nms, box_iou, nms, roi_align  # noqa: E402

__all__ = ["BalancedPositiveNegativeSampler", "batched_nms", "box_iou", "nms", "roi_align"]
