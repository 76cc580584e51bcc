"""Resizing along an axis whose length is known only when an exported graph runs: as products with weights.

A tracer bakes sizes into torch's own resizing, or makes it an operator that differs between runtimes. Here the weights
[new, old] of an axis are computed in the graph from its sides, by additions and multiplications alone.
"""

from typing import Any

import torch
from torch import Tensor


def is_symbolic(*sides: Any) -> bool:
    """Whether any side is a symbol of a graph that is being traced, and no number yet."""
    return any(isinstance(side, torch.SymInt) for side in sides)


def as_number(side: int, device: torch.device) -> Tensor:
    """Returns a side as a float32 scalar that stays part of the graph."""
    return torch.ones(side, device=device, dtype=torch.float32).sum()


def linear_weights(old: int, new: int, device: torch.device) -> Tensor:
    """Returns the weights [new, old], float32, of a linear interpolation with align_corners False."""
    count = as_number(old, device)
    step = count / as_number(new, device)
    centre = (torch.arange(new, device=device, dtype=torch.float32) + 0.5) * step - 0.5
    centre = torch.minimum(centre.clamp(min=0.0), count - 1.0)
    places = torch.arange(old, device=device, dtype=torch.float32)
    return (1.0 - (centre[:, None] - places[None]).abs()).clamp(min=0.0)


def mean_weights(old: int, new: int, device: torch.device) -> Tensor:
    """Returns the weights [new, old], float32, of an adaptive average pooling; `new` is a number."""
    count = as_number(old, device).long()
    place = torch.arange(new, device=device)
    first = (place * count).div(new, rounding_mode="floor")
    end = ((place + 1) * count + new - 1).div(new, rounding_mode="floor")
    places = torch.arange(old, device=device)
    inside = (places[None] >= first[:, None]) & (places[None] < end[:, None])
    return inside.float() / (end - first)[:, None]
