"""ImageNet-1K supervised training from scratch, with an average of the weights (MAE paper, Table 11)."""

from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.model import FineTunedClassifier as Model

__all__ = ["Data", "Model"]
