"""Places365 and Places205 scene classification: the whole backbone is fine-tuned (MAE paper, Table 6)."""

from maekit.classifier import FineTunedClassifier as Model
from maekit.data.places import Places as Data

__all__ = ["Data", "Model"]
