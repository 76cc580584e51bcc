"""iNaturalist 2017, 2018 and 2019 classification: the whole backbone is fine-tuned (MAE paper, Table 6)."""

from maekit.classifier import FineTunedClassifier as Model
from maekit.data.inaturalist import INaturalist as Data

__all__ = ["Data", "Model"]
