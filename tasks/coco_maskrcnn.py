"""COCO object detection and instance segmentation with Mask R-CNN (MAE paper, Table 4; ViTDet)."""

from maekit.data.coco import COCO as Data
from maekit.detector import Detector as Model

__all__ = ["Data", "Model"]
