"""Floating point tensors as weights have them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.errors import UserError

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinite values; true for types that cannot have them."""
    if tensor.dtype not in FLOATS or not tensor.numel():
        return True
    return all(bool(end.isfinite()) for end in torch.aminmax(tensor))


def require_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors of which a file holds no numbers, or not all of them in place."""
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise UserError(
                f"{path} has only the shape of {name} (it was saved on torch's meta device), expected its numbers; "
                "load the weights into the model before its state_dict() is saved"
            )
        if tensor.layout != torch.strided:
            raise UserError(f"{path} has {name} as a sparse tensor, expected a dense one; save it with .to_dense()")
