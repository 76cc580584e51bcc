"""COCO object detection and instance segmentation with Mask R-CNN (MAE paper, Table 4; ViTDet)."""

from maekit.detection.data.coco.coco import COCO as Data
from maekit.detection.model import Detector as Model

__all__ = ["Data", "Model"]
