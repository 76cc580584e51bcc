"""ADE20K semantic segmentation with UperNet (MAE paper, Table 5)."""

from maekit.segmentation.data.ade20k import ADE20K as Data
from maekit.segmentation.model import Segmenter as Model

__all__ = ["Data", "Model"]
