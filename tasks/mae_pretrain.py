"""Masked-autoencoder pre-training (MAE paper, section 3 and appendix A.1)."""

from maekit.pretraining.model import Pretrainer as Model
from maekit.pretraining.unlabelled import AnyImages as Data

__all__ = ["Data", "Model"]
