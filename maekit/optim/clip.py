"""Gradient clipping that also works where gradients are still multiplied by fp16's loss scale.

Lightning (2.6) refuses to clip under mixed precision with a fused optimizer, since that divides by the loss scale in
its own step. Clipping needs no division: a threshold times the scale does the same. Nothing here reads from the device.
"""

import torch
from torch import Tensor


def gradient_norms(grads: list[Tensor]) -> Tensor:
    """Returns the L2 norm of each gradient, [P] in fp32."""
    if not grads:
        return torch.zeros(0)
    return torch.stack(list(torch._foreach_norm(grads, 2.0, torch.float32)))


def total_norm(norms: Tensor) -> Tensor:
    """Returns the L2 norm over all gradients, a scalar, of what `gradient_norms` gives; 0 where there are none."""
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm


def clip_gradients(
    grads: list[Tensor], norm: Tensor, limit: float | None, by_value: bool, scale: Tensor | None = None
) -> None:
    """Clips gradients in place.

    Args:
        grads: those of the optimizer's parameters, or this process's parts of them.
        norm: what `total_norm` gives for them, of the gradients as they are.
        limit: the largest norm, or the largest absolute value; None, 0 or less clips nothing.
        by_value: whether the limit is of each element, not of the norm.
        scale: by how much the gradients are too large, a scalar on their device; None for not at all.
    """
    if limit is None or limit <= 0 or not grads:
        return
    bound = limit if scale is None else limit * scale
    if not by_value:
        # infinite / infinite: fp16's scaler leaves the step out where it finds NaN, not where it finds 0
        share = (bound / (norm + 1e-6)).clamp(max=1.0).masked_fill(~norm.isfinite(), torch.nan)
        torch._foreach_mul_(grads, share)
    elif isinstance(bound, Tensor):
        for grad in grads:
            grad.clamp_(-bound, bound)
    else:
        torch._foreach_clamp_min_(grads, -bound)
        torch._foreach_clamp_max_(grads, bound)
