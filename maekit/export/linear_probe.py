"""A linear probe's head as other libraries can hold it: one linear layer on normalised tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor

_EPS = 1e-6  # of the probe's BatchNorm; facebookresearch/mae @ efb2a80 main_linprobe.py
FOLDED = "folded: the linear probe's BatchNorm (running statistics, eps 1e-6) into its classifier"


def fold(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors with a probe's BatchNorm and Linear, `head.0.*` and `head.1.*`, as one Linear, `head.*`.

    W (x - m) / sqrt(v + eps) + b is W' x + (b - W' m) with W' = W / sqrt(v + eps); computed in float64.
    """
    mean, var = tensors["head.0.running_mean"].double(), tensors["head.0.running_var"].double()
    weight, bias = tensors["head.1.weight"], tensors["head.1.bias"]
    scaled = weight.double() / (var + _EPS).sqrt()
    folded = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    folded["head.weight"] = scaled.to(weight.dtype)
    folded["head.bias"] = (bias.double() - scaled @ mean).to(bias.dtype)
    return folded


def with_plain_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors of a probe on the mean of the patches and weights 1, biases 0 for its norm, which has none."""
    bias = torch.zeros_like(tensors["head.0.running_mean"])
    return {**tensors, "fc_norm.weight": torch.ones_like(bias), "fc_norm.bias": bias}
