"""Whether a masked autoencoder predicts normalised pixels or plain ones, found on images: its file does not say."""

from typing import NamedTuple

import torch
from torch import Tensor

from maekit.pretraining.model import Pretrainer
from maekit.pretraining.target import Components, NormalisedPixels, Pixels, patchify, psnr
from maekit.system.numbers import plural

TRIED = 8  # images on which an unknown target is tried
CLEAR = 0.1  # by so much more must one target be explained for the guess to be sure


class Trial(NamedTuple):
    """How well predictions fit normalised pixels, and how well plain ones.

    Attributes:
        normalised: share of the squares of the hidden patches' normalised pixels that the predictions explain: 1 is
            all, 0 no better than predicting zeros, below 0 worse.
        plain: likewise of their plain pixels, by the data's mean and standard deviation.
        psnr_normalised: dB of the hidden pixels, predictions read as normalised.
        psnr_plain: likewise, read as plain pixels.
        num_images: on which this was found.
    """

    normalised: float
    plain: float
    psnr_normalised: float
    psnr_plain: float
    num_images: int

    @property
    def norm_pix_loss(self) -> bool:
        """Whether the predictions explain more of normalised pixels than of plain ones.

        Not the PSNR: normalised pixels are turned back with each patch's true mean and deviation, which makes nearly
        anything look near.
        """
        return self.normalised > self.plain

    @property
    def sure(self) -> bool:
        """Whether the two differ clearly."""
        return abs(self.normalised - self.plain) > CLEAR and max(self.normalised, self.plain) > 0

    def __str__(self) -> str:
        """Returns both shares and both PSNRs in one line."""
        return (
            f"of the hidden patches of {plural(self.num_images, 'image')} the predictions explain "
            f"{_percent(self.normalised)} as normalised pixels (PSNR {self.psnr_normalised:.1f} dB), "
            f"{_percent(self.plain)} as plain ones (PSNR {self.psnr_plain:.1f} dB)"
        )


@torch.inference_mode()
def try_targets(model: Pretrainer, images: Tensor, noise: Tensor) -> Trial:
    """Tries both meanings of a model's predictions on images [B, C, H, W], normalised, with noise [B, N] for the masks.

    Args:
        model: predicts pixels of either kind; it is left as it was.
        images: B of them.
        noise: lowest where patches are visible.
    """
    values, masking = model(images, noise)
    patches = patchify(images, model.backbone.patch_size)
    true, predicted = (x[masking.masked].view(len(images), -1, x.shape[-1]).float() for x in (patches, values))
    mean, std = (
        true.new_tensor(each).repeat(model.backbone.patch_size**2) for each in (model.spec.mean, model.spec.std)
    )
    found = []
    for target in (NormalisedPixels(true.shape[-1]), Pixels(true.shape[-1])):
        wanted = target(true)
        left = (predicted - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)
        quality = psnr(target.pixels(predicted, true) * std + mean, true * std + mean, cut=model.is_rgb)
        found.append((1 - float(left), float(quality.mean())))
    (normalised, psnr_normalised), (plain, psnr_plain) = found
    return Trial(normalised, plain, psnr_normalised, psnr_plain, len(images))


def normalises(model: Pretrainer) -> bool | None:
    """Whether what a model predicts is read as normalised pixels; None where it is components of pixels."""
    target = model.head.target
    return None if isinstance(target, Components) else isinstance(target, NormalisedPixels)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share > 0 else "nothing"
