"""Floating point tensors as weights have them."""

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinite values; true for types that cannot have them."""
    if tensor.dtype not in FLOATS or not tensor.numel():
        return True
    return all(bool(end.isfinite()) for end in torch.aminmax(tensor))
