"""LARS, the optimizer of the linear probe: momentum SGD that scales the step of each tensor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from maekit.optim.groups import TorchGroup


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (arXiv 1708.03888), as facebookresearch/mae @ efb2a80 util/lars.py has it.

    A tensor of two or more dimensions has its weight decay added to its gradient, and the sum scaled by
    trust_coefficient x |weight| / |sum| (by 1 where either norm is 0). Vectors and scalars (biases, norms) are neither
    decayed nor scaled. Then momentum: v = momentum x v + g, weight -= lr x v.

    Attributes:
        found_inf: a scalar, 1 where a step must change nothing, as a NaN is in its gradients; see torch's fused AdamW.

    Args:
        params: parameters, or groups with `lr` and `weight_decay` of their own.
        lr: learning rate.
        weight_decay: 0 or more.
        momentum: in [0, 1).
        trust_coefficient: above 0.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0,
        weight_decay: float = 0.0,
        momentum: float,
        trust_coefficient: float,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step; parameters without a gradient stay as they are. Returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, weight: Tensor, group: TorchGroup) -> None:
        assert weight.grad is not None
        update = weight.grad
        if weight.ndim > 1:
            update = update.add(weight, alpha=group["weight_decay"])
            norm, size = weight.norm(), update.norm()
            adapted = group["trust_coefficient"] * norm / size
            update = update * adapted.where((norm > 0) & (size > 0), torch.ones_like(norm))
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        velocity = state["momentum_buffer"]
        if self.found_inf is None:
            velocity.mul_(group["momentum"]).add_(update)
            weight.add_(velocity, alpha=-group["lr"])
        else:
            new = velocity * group["momentum"] + update
            kept = self.found_inf > 0
            weight.add_(torch.where(kept, torch.zeros_like(new), new), alpha=-group["lr"])
            velocity.copy_(torch.where(kept, velocity, new))
