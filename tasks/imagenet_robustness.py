"""ImageNet-A, -R, -Sketch and -C: a fine-tuned classifier is evaluated, nothing is trained (MAE paper, Table 13).

Backbone: a plain ViT, with or without the final norm, as the weights were fine-tuned.
Head: the weights' own linear classifier, on the class token or the mean of the patch tokens.
Losses: none: there is nothing to train, and so no section `optim`.
Metric: the corruption error by AlexNet's on ImageNet-C; also top-1 of each data set, and of each corruption.
Data: the four data sets as released, as far as they are there; each class is brought to the model's by its id.
Own data: none; imagenet_finetune and `maekit validate` measure a classifier on images of your own.

The model is built by `RobustnessClassifier`, whose classes are those that its weights say.
"""

from maekit.robustness.data.imagenet_variants import Robustness as Data
from maekit.robustness.model import RobustnessClassifier

__all__ = ["Data", "Model"]


class Model(RobustnessClassifier):
    """A ViT and a linear classifier with the classes of its weights."""
