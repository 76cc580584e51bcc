"""Mixup and cutmix of any targets that may be averaged: each image with the one at its place from the batch's end."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from maekit.system.light_imports import import_alone


class MixedBatch(NamedTuple):
    """Images [B, C, H, W] that were mixed in pairs, and their targets [B, N] in the same shares."""

    image: Tensor
    target: Tensor


@dataclass(frozen=True)
class PairMix:
    """How a batch is mixed; the draws are NumPy's, as timm's are.

    Attributes:
        mixup: alpha of mixup's Beta distribution; 0 for none. Source: arXiv 1710.09412.
        cutmix: alpha of cutmix's; 0 for none. Source: arXiv 1905.04899.
        probability: how often a batch is mixed at all, in [0, 1].
        switch_probability: how often cutmix is taken where both are on, in [0, 1].
    """

    mixup: float
    cutmix: float = 0.0
    probability: float = 1.0
    switch_probability: float = 0.5

    @property
    def is_on(self) -> bool:
        """Whether batches are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, image: Tensor, target: Tensor) -> MixedBatch:
        """Mixes images [B, C, H, W] and targets [B, N], which are averaged in the shares of their images."""
        if np.random.rand() >= self.probability:
            return MixedBatch(image, target)
        cuts = self.cutmix > 0 and (self.mixup == 0 or np.random.rand() < self.switch_probability)
        alpha = self.cutmix if cuts else self.mixup
        share = float(np.random.beta(alpha, alpha))
        other = image.flip(0)
        if cuts:
            bounds: Any = import_alone("timm.data.mixup").cutmix_bbox_and_lam
            (top, bottom, left, right), share = bounds(image.shape, share)
            mixed = image.clone()
            mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        else:
            mixed = image * share + other * (1 - share)
        return MixedBatch(mixed, target * share + target.flip(0) * (1 - share))
