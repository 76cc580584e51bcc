"""ImageNet-A, -R, -Sketch and -C: a fine-tuned classifier is evaluated, nothing is trained (MAE paper, Table 13)."""

from maekit.robustness.data.imagenet_variants import Robustness as Data
from maekit.robustness.model import RobustnessClassifier as Model

__all__ = ["Data", "Model"]
