"""Says in words what made a step not finite, from its contents and from the traces of its computation."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maekit.replay.packing import tensors_of
from maekit.replay.watch import Event, Trace
from maekit.system.numbers import number, plural

Where = Literal["batch", "weight", "forward", "loss", "backward", "none"]
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
WORDS = {"bf16-mixed": "bf16", "16-mixed": "fp16"}


class Verdict(NamedTuple):
    """What a replay found.

    Attributes:
        where: in what it began; `none` if everything was finite this time.
        layer: the first layer whose output or gradient is not finite; None without one.
        text: one sentence or two.
    """

    where: Where
    layer: str | None
    text: str


class Traces(NamedTuple):
    """One device batch computed in the run's precision, in fp32, and perhaps in float64."""

    own: Trace
    single: Trace
    double: Trace | None


def judge(traces: Traces, precision: str, batch: object, weights: Mapping[str, Tensor]) -> Verdict:
    """Returns where a step began to be not finite.

    Args:
        traces: of its device batch.
        precision: of the run, such as `bf16-mixed`.
        batch: the device batch.
        weights: the model's parameters and buffers before the step.
    """
    forward = traces.own.first_bad(backward=False)
    layer = None if forward is None else traces.own.events[forward].name
    if found := _bad_input(batch):
        return Verdict("batch", layer, f"an input is not finite: {found}{_first(layer)}")
    if found := _bad_weight(weights):
        return Verdict("weight", layer, f"a weight was not finite before the step: {found}{_first(layer)}")
    if forward is not None:
        return Verdict("forward", layer, _forward(traces, forward, precision))
    if traces.own.loss is not None and not math.isfinite(traces.own.loss):
        return Verdict("loss", None, f"the loss itself: the output of every layer is finite{_beside_loss(traces)}")
    backward = traces.own.first_bad(backward=True)
    if backward is not None:
        return Verdict("backward", traces.own.events[backward].name, _backward(traces, backward, precision))
    return Verdict(
        "none",
        None,
        "every output and gradient is finite this time: the fault is not in what the file holds (another kernel or "
        "device, compiled code, another process's gradients, or something that changed gradients after the step)",
    )


def _bad_input(batch: object) -> str | None:
    for name, tensor in tensors_of(batch):
        bad = ~tensor.isfinite()
        if not bool(bad.any()):
            continue
        kinds = [word for word, at in (("NaN", tensor.isnan()), ("infinity", tensor.isinf())) if bool(at.any())]
        samples = sorted(set(bad.nonzero()[:, 0].tolist())) if tensor.ndim else []
        which = f" of {plural(len(samples), 'sample')} {_some(samples)}" if samples else ""
        index = getattr(batch, "index", None)
        listed = ""
        if isinstance(index, Tensor) and samples and index.ndim == 1 and len(index) == len(tensor):
            listed = f" (in the data's listing {_some(index[samples].tolist())})"
        return f"{' and '.join(kinds)} in {plural(int(bad.sum()), 'value')} of {name}{which}{listed}"
    return None


def _bad_weight(weights: Mapping[str, Tensor]) -> str | None:
    """Statistics of BatchNorm are left out: the step's own forward pass has changed them, and training reads none."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not name.endswith(("running_mean", "running_var")):
            bad = int((~tensor.isfinite()).sum())
            if bad:
                return f"{plural(bad, 'value')} of {name}"
    return None


def _forward(traces: Traces, place: int, precision: str) -> str:
    event = traces.own.events[place]
    where = _place_of(traces.own, place)
    if precision not in DTYPES:
        text = f"{where} is the first that is not finite, in fp32, from finite inputs and weights"
        return text + _beside_double(traces, event)
    word, limit = WORDS[precision], torch.finfo(DTYPES[precision]).max
    other = _same(traces.single, event)
    if other is None or not other.size.finite:
        return f"{where} is the first that is not finite in {word}, and it is not finite in fp32 either: not the " + (
            f"precision, but numbers that are too large, or a division by zero{_beside_double(traces, event)}"
        )
    reach = f"in fp32 its largest magnitude is {number(other.size.max_abs)}"
    more = "more than" if other.size.max_abs > limit else "a part of what it adds up is more than"
    why = f"{more} the {number(limit)} that {word} holds"
    text = f"an overflow in {word} that fp32 does not have: {where} is the first that is not finite; {reach}, {why}"
    later = traces.single.first_bad(backward=False)
    return text if later is None else f"{text}; fp32 is not finite later, at {traces.single.events[later].name}"


def _backward(traces: Traces, place: int, precision: str) -> str:
    event = traces.own.events[place]
    before = [one for one in traces.own.events[:place] if one.kind != "output"]
    what = (
        f"the gradient of {event.name}" if event.kind == "parameter" else f"the gradient of the output of {event.name}"
    )
    source = f", which follows that of {before[-1].name}" if before else ", the first of the backward pass"
    text = (
        f"the backward pass: {what} is the first that is not finite{source}; the forward pass and the loss are finite"
    )
    if precision not in DTYPES:
        return text
    other = _same(traces.single, event)
    if other is not None and other.size.finite:
        return f"{text}; an overflow in {WORDS[precision]}: in fp32 it is finite, at most {number(other.size.max_abs)}"
    return f"{text}; it is not finite in fp32 either"


def _place_of(trace: Trace, place: int) -> str:
    """The layer that gave it, or between which layers it was computed."""
    event = trace.events[place]
    if event.leaf and event.fed:
        return event.name
    before = [one for one in trace.events[:place] if one.kind == "output" and one.leaf]
    since = f"after {before[-1].name}" if before else "before the first layer"
    if event.leaf:
        return f"the input of {event.name}, computed {since},"
    return f"what {event.name} computes {since}"


def _first(layer: str | None) -> str:
    return "" if layer is None else f"; the first layer whose output is not finite is {layer}"


def _beside_loss(traces: Traces) -> str:
    single = traces.single.loss
    return f"; in fp32 it is {number(single)}" if single is not None else ""


def _beside_double(traces: Traces, event: Event) -> str:
    if traces.double is None or (other := _same(traces.double, event)) is None:
        return ""
    if not other.size.finite:
        return "; nor is it in float64"
    return f"; in float64 it is finite, at most {number(other.size.max_abs)}, so fp32 overflows"


def _same(trace: Trace, event: Event) -> Event | None:
    wanted = (event.name, event.kind, event.call)
    return next((one for one in trace.events if (one.name, one.kind, one.call) == wanted), None)


def _some(numbers: Iterable[int]) -> str:
    listed = [str(one) for one in numbers]
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")
