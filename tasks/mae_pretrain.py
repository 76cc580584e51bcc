"""Masked-autoencoder pre-training (MAE paper, section 3 and appendix A.1).

Backbone: a plain ViT with fixed sine-cosine positions, which is given the visible patches alone (or, with
    `encoder_mask_tokens`, all places, the hidden ones as mask tokens).
Head: a light transformer over all patches, hidden ones as mask tokens, and a linear layer to the target.
Loss: mean square error of the hidden patches: their pixels, normalised or not, or principal components.
Metric: the loss under fixed masks, and PSNR; beside it k-NN and a linear probe of frozen features (`data.probe_root`).
Data: any images, with no labels; ImageNet-1K without its labels.
Own data: DIR/**/*.jpg, at any depth and without labels; DIR/train and DIR/val, or a share is set aside.

`Pretrainer` builds the model, since `maekit reconstruct` reads files of others into the very same one. Your own task
overrides `draw_masking` for other masks, or `training_losses` for another loss.
"""

from maekit.pretraining.model import Pretrainer
from maekit.pretraining.unlabelled import AnyImages as Data

__all__ = ["Data", "Model"]


class Model(Pretrainer):
    """A masked autoencoder: the encoder sees visible patches only, a light decoder predicts the others."""
