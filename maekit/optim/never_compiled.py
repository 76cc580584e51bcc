"""torch's optimizers without its compiler, which they import at their first step: a second or two.

maekit compiles a step's losses and never the optimizer, so torch's marks for its compiler mean nothing here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import optim

_BETWEEN_STEPS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _step(kind: type[optim.Optimizer]) -> Callable[..., Any]:
    """Returns the step of a kind of optimizer without the breaks for the compiler around it, which compute nothing."""
    inner = getattr(kind.step, "__wrapped__", None)
    return kind.step if inner is None else torch.no_grad()(inner)


class AdamW(optim.AdamW):
    """torch's AdamW."""

    step = _step(optim.AdamW)


class SGD(optim.SGD):
    """torch's SGD."""

    step = _step(optim.SGD)


def _spare() -> None:
    """Marks methods of all optimizers as not compiled, as their first call would. Does nothing to another torch's."""
    for name in _BETWEEN_STEPS:
        method = getattr(getattr(optim.Optimizer, name, None), "__wrapped__", None)
        if method is not None and getattr(method, "__dynamo_disable", None) is None:
            setattr(method, "__dynamo_disable", method)


_spare()
