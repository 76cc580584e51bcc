"""A replay as lines for the terminal, and as JSON."""

import math
from collections.abc import Iterator, Sequence

from maekit.replay.nan_step import NanStep
from maekit.replay.replay import Replay
from maekit.replay.verdict import WORDS
from maekit.replay.watch import Event, Trace
from maekit.system.numbers import number, plural

_AFTER = 3  # rows after the first that is not finite

Key = tuple[str, str, int]


def lines(step: NanStep, found: Replay) -> Iterator[str]:
    """Yields the step, a table of the forward pass, one of the backward pass, notes, and the verdict."""
    facts, own = step.facts, WORDS.get(step.facts.precision, "fp32")
    yield (
        f"step    {facts.step} of task {step.card.task}, device batch {found.batch.place} of {facts.accumulation}, "
        f"process {facts.process} of {facts.processes}; {facts.precision} on {facts.device}"
    )
    yield f"run     {facts.fault}"
    traces = [(own, found.traces.own)]
    if found.traces.single is not found.traces.own:
        traces.append(("fp32", found.traces.single))
    if found.traces.double is not None:
        traces.append(("float64", found.traces.double))
    yield "loss    " + ", ".join(f"{_shown(trace.loss)} in {name}" for name, trace in traces)
    yield from _table("output of layer", traces, backward=False)
    if found.verdict.where in ("backward", "none"):
        yield from _table("gradient of", traces, backward=True)
    else:
        yield "  gradients follow from a loss that is not finite; all with --json"
    yield from (f"note    {note}" for note in found.notes)
    yield f"cause   {found.verdict.text}"


def as_json(step: NanStep, found: Replay) -> dict[str, object]:
    """Returns all of a replay as plain values; a number that is not finite becomes text: `nan`, `inf`."""
    columns = {"run": found.traces.own, "fp32": found.traces.single}
    if found.traces.double is not None:
        columns["float64"] = found.traces.double
    sizes = {name: _by_key(trace.events) for name, trace in columns.items()}
    rows = []
    for key in dict.fromkeys(key for trace in sizes.values() for key in trace):
        own = {
            name: {"max_abs": _plain(trace[key].size.max_abs), "mean": _plain(trace[key].size.mean)}
            for name, trace in sizes.items()
            if key in trace
        }
        rows.append({"name": key[0], "kind": key[1], "call": key[2], **own})
    facts = step.facts
    return {
        "task": step.card.task, "step": facts.step, "device_batch": found.batch.place, "process": facts.process,
        "precision": facts.precision, "device": facts.device, "fault": facts.fault,
        "where": found.verdict.where, "layer": found.verdict.layer, "cause": found.verdict.text,
        "loss": {name: _plain(trace.loss) for name, trace in columns.items()},
        "layers": rows, "notes": list(found.notes),
    }  # fmt: skip


def _table(title: str, traces: Sequence[tuple[str, Trace]], *, backward: bool) -> Iterator[str]:
    shown = [event for event in traces[0][1].events if (event.kind != "output") == backward and event.leaf]
    bad = next((place for place, event in enumerate(shown) if not event.size.finite), None)
    kept = shown if bad is None else shown[: bad + 1 + _AFTER]
    others = [_by_key(trace.events) for _, trace in traces]
    width = max([len(title), *(len(_name(event)) for event in kept)])
    yield f"  {title:<{width}}" + "".join(f"  {f'{name} max':>12} {'mean':>10}" for name, _ in traces)
    for place, event in enumerate(kept):
        cells = []
        for table in others:
            same = table.get(_key(event))
            pair = ("", "") if same is None else (_shown(same.size.max_abs), _shown(same.size.mean))
            cells.append(f"  {pair[0]:>12} {pair[1]:>10}")
        yield f"{'>' if place == bad else ' '} {_name(event):<{width}}{''.join(cells)}"
    if len(kept) < len(shown):
        yield f"  ... {plural(len(shown) - len(kept), 'more row')}, all with --json"


def _name(event: Event) -> str:
    again = f" (call {event.call + 1})" if event.call else ""
    return f"{event.name}{again}" + (" (output)" if event.kind == "gradient" else "")


def _key(event: Event) -> Key:
    return event.name, event.kind, event.call


def _by_key(events: Sequence[Event]) -> dict[Key, Event]:
    return {_key(event): event for event in events if event.leaf}


def _shown(value: float | None) -> str:
    return "" if value is None else number(value)


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
