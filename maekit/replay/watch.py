"""Watches a model while one step is computed: the size of each layer's output and of its gradient, in order."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from maekit.replay.packing import tensors_of


@dataclass(frozen=True)
class Size:
    """Of the numbers in some tensors: the largest magnitude, the mean, and whether all are finite."""

    max_abs: float
    mean: float
    finite: bool


@dataclass(frozen=True)
class Event:
    """One output of a layer, or one gradient.

    Attributes:
        name: of the module, or of the parameter whose gradient it is.
        kind: `output`, `gradient` of an output, or `parameter` for the gradient of a parameter.
        call: how often the module was called before.
        size: of what it gave.
        fed: whether all its inputs were finite; True for gradients.
        leaf: whether it has no parts.
    """

    name: str
    kind: str
    call: int
    size: Size
    fed: bool = True
    leaf: bool = True


@dataclass
class Trace:
    """What was seen of one step, in the order in which it was computed.

    Attributes:
        events: outputs, then gradients.
        loss: of the device batch; None before there is one.
    """

    events: list[Event] = field(default_factory=list)
    loss: float | None = None

    def first_bad(self, *, backward: bool) -> int | None:
        """Returns the place of the first event that is not finite, of the forward or of the backward pass."""
        places = (place for place, event in enumerate(self.events) if (event.kind != "output") == backward)
        return next((place for place in places if not self.events[place].size.finite), None)


def size_of(tensors: Sequence[Tensor], scale: float = 1.0) -> Size | None:
    """Returns the size of some tensors' numbers, divided by `scale`; None if there are none."""
    kept = [t.detach() if t.dtype == torch.float64 else t.detach().float() for t in tensors if t.numel()]
    if not kept:
        return None
    largest = max(_largest(t) for t in kept)
    count = sum(t.numel() for t in kept)
    mean = sum(_mean(t) * t.numel() for t in kept) / count
    finite = all(bool(t.isfinite().all()) for t in kept)
    bad = [value for t in kept if (value := _largest(t)) != value]
    return Size((bad[0] if bad else largest) / scale, mean / scale, finite)


def _mean(tensor: Tensor) -> float:
    return float(tensor.mean() if tensor.device.type == "mps" else tensor.mean(dtype=torch.float64))


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max())


@contextmanager
def watching(model: nn.Module, scale: float = 1.0) -> Iterator[Trace]:
    """Gives a trace that is filled while the block computes a step of the model.

    Args:
        model: what is watched; its state is not changed.
        scale: by which the loss is multiplied before the backward pass.
    """
    trace, calls, backward = Trace(), dict[str, int](), dict[str, int]()
    names = {id(module): name for name, module in model.named_modules()}

    def see_output(module: nn.Module, inputs: object, named: object, output: object) -> None:
        name, leaf = names[id(module)], not any(module.children())
        found = [tensor for _, tensor in tensors_of(output)]
        size = size_of(found)
        if size is None:
            return
        if trace.loss is None:  # not again where a checkpointed layer is computed once more
            fed = all(bool(tensor.isfinite().all()) for _, tensor in tensors_of((inputs, named)))
            trace.events.append(Event(name, "output", calls.get(name, 0), size, fed, leaf))
            calls[name] = calls.get(name, 0) + 1
        if leaf and any(tensor.requires_grad for tensor in found):
            call = backward[name] = backward.get(name, -1) + 1
            for tensor in found:
                if tensor.requires_grad:
                    hook = partial(see_gradient, name, "gradient", call)
                    tensor.register_hook(hook)  # type: ignore[no-untyped-call]

    def see_gradient(name: str, kind: str, call: int, gradient: Tensor) -> None:
        if (size := size_of([gradient], scale)) is not None:
            trace.events.append(Event(name, kind, call, size))

    handles = [
        module.register_forward_hook(see_output, with_kwargs=True) for name, module in model.named_modules() if name
    ]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            hook = partial(see_gradient, name, "parameter", 0)
            handles.append(parameter.register_hook(hook))  # type: ignore[no-untyped-call]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()
