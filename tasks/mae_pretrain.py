"""Masked-autoencoder pre-training (MAE paper, section 3 and appendix A.1)."""

from maekit.data.unlabelled import AnyImages as Data
from maekit.pretrainer import Pretrainer as Model

__all__ = ["Data", "Model"]
