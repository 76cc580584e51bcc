"""ImageNet-1K classification: the whole backbone is fine-tuned (MAE paper, Table 3)."""

from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.model import FineTunedClassifier as Model

__all__ = ["Data", "Model"]
