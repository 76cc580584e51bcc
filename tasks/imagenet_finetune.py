"""ImageNet-1K classification: the whole backbone is fine-tuned (MAE paper, Table 3)."""

from maekit.classifier import FineTunedClassifier as Model
from maekit.data.imagenet import ImageNet as Data

__all__ = ["Data", "Model"]
