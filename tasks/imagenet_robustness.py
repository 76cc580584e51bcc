"""ImageNet-A, -R, -Sketch and -C: a fine-tuned classifier is evaluated, nothing is trained (MAE paper, Table 13)."""

from maekit.data.robustness import Robustness as Data
from maekit.robustness import RobustnessClassifier as Model

__all__ = ["Data", "Model"]
