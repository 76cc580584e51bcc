"""The projection to queries, keys and values without a bias of the keys, as BEiT and DINOv3 have it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def without_key(bias: Tensor) -> Tensor:
    """Returns a bias [3 * D] of queries, keys and values with zeros for the keys, which then have no gradient."""
    query, key, value = bias.chunk(3)
    return torch.cat([query, torch.zeros_like(key), value])


class KeylessLinear(nn.Linear):
    """A linear layer [3 * D, D] whose bias has no part for the keys.

    Its state is a whole `bias` [3 * D], whose middle third is zero and stays so: what is there is never used and has
    no gradient. Left to itself it would be trained: without rotary positions a bias of the keys changes nothing, so its
    gradient is rounding alone, which Adam scales up to a whole step.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns [..., 3 * D] for inputs [..., D]."""
        return F.linear(input, self.weight, without_key(self.bias))
