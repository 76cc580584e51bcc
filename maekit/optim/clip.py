"""Gradient clipping that also works where gradients are still multiplied by fp16's loss scale.

Lightning (2.6) refuses to clip under mixed precision with a fused optimizer, since that divides by the loss scale in
its own step. Clipping needs no division: a threshold times the scale does the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Returns the L2 norm over all gradients, a scalar; 0 where there are none."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())


def clip_gradients(
    parameters: Sequence[nn.Parameter], norm: Tensor, limit: float | None, by_value: bool, scale: float = 1.0
) -> None:
    """Clips gradients in place.

    Args:
        parameters: those of the optimizer.
        norm: what `gradient_norm` gives for them, of the gradients as they are.
        limit: the largest norm, or the largest absolute value; None, 0 or less clips nothing.
        by_value: whether the limit is of each element, not of the norm.
        scale: by how much the gradients are too large.
    """
    if limit is None or limit <= 0:
        return
    if by_value:
        torch.nn.utils.clip_grad_value_(parameters, limit * scale)
    elif bool(norm.isfinite()):
        torch.nn.utils.clip_grads_with_norm_(parameters, limit * scale, norm)
    else:  # infinite / infinite: fp16's scaler leaves the step out where it finds NaN, not where it finds 0
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], float("nan"))
