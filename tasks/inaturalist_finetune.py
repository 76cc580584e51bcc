"""iNaturalist 2017, 2018 and 2019 classification: the whole backbone is fine-tuned (MAE paper, Table 6)."""

from maekit.classification.data.inaturalist.inaturalist import INaturalist as Data
from maekit.classification.model import FineTunedClassifier as Model

__all__ = ["Data", "Model"]
