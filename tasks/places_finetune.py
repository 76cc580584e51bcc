"""Places365 and Places205 scene classification: the whole backbone is fine-tuned (MAE paper, Table 6)."""

from maekit.classification.data.places.places import Places as Data
from maekit.classification.model import FineTunedClassifier as Model

__all__ = ["Data", "Model"]
