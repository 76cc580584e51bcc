"""ImageNet-1K supervised training from scratch, with an average of the weights (MAE paper, Table 11)."""

from maekit.classifier import FineTunedClassifier as Model
from maekit.data.imagenet import ImageNet as Data

__all__ = ["Data", "Model"]
