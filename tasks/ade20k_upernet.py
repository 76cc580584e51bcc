"""ADE20K semantic segmentation with UperNet (MAE paper, Table 5)."""

from maekit.data.ade20k import ADE20K as Data
from maekit.segmenter import Segmenter as Model

__all__ = ["Data", "Model"]
