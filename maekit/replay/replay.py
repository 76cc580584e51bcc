"""Runs a step of a file again: its model from the file alone, in the run's precision, in fp32, and in float64."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.recipes.tasks import find_task
from maekit.replay.nan_step import DeviceBatch, NanStep
from maekit.replay.packing import moved, unpack
from maekit.replay.verdict import DTYPES, Traces, Verdict, judge
from maekit.replay.watch import Trace, watching
from maekit.system.generators import set_generator_states, untouched_generators
from maekit.system.hardware import autocast_of, set_matmul_precision


class Replay(NamedTuple):
    """What a replay found.

    Attributes:
        batch: the device batch of which the traces are: the first that is not finite, else the last.
        traces: of that batch.
        verdict: in words.
        notes: what differs from the run.
    """

    batch: DeviceBatch
    traces: Traces
    verdict: Verdict
    notes: Sequence[str]


def replay(step: NanStep, path: Path, device: torch.device, *, double: bool, task: str | None = None) -> Replay:
    """Computes a step again, forward and backward; leaves every generator as it was.

    Args:
        step: of `read_nan_step`.
        path: its file, for messages.
        device: where to compute.
        double: whether to compute it in float64 as well.
        task: where the task is now, if its own file has moved.

    Raises:
        UserError: the task is not there, or is not the file's.
    """
    model = build(step, path, task)
    with untouched_generators():
        for batch in step.batches:
            contents = unpack(batch.packed)
            own = _trace(model, step, batch, contents, device, step.facts.precision, torch.float32)
            single = own
            if step.facts.precision in DTYPES or step.facts.matmul_precision != "highest":
                single = _trace(model, step, batch, contents, device, "32-true", torch.float32)
            twice = _trace(model, step, batch, contents, device, "32-true", torch.float64) if double else None
            traces = Traces(own, single, twice)
            verdict = judge(traces, step.facts.precision, contents, step.weights)
            if verdict.where != "none":
                break
    return Replay(batch, traces, verdict, list(_notes(step, model, device)))


def build(step: NanStep, path: Path, task: str | None) -> TransferModel:
    """Returns the model of a file with its weights, in training mode.

    Raises:
        UserError: the task is not there, is another, or has changed.
    """
    own = Path(step.card.task).stem
    if task is not None and Path(task).stem != own:
        raise UserError(f"{path} is of task {own}, got --task {task}; leave it out, or give where that task is now")
    module = find_task(task or step.card.task).load()
    try:
        model: TransferModel = module.Model.build(step.card.spec, step.card.config["model"])
        model.load_state_dict(dict(step.weights))
    except (RuntimeError, TypeError, KeyError) as error:
        line = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{path} does not fit task {own} as it is now: {line}; restore that version of it") from error
    return model.train()


def _trace(
    model: TransferModel,
    step: NanStep,
    batch: DeviceBatch,
    contents: object,
    device: torch.device,
    precision: str,
    dtype: torch.dtype,
) -> Trace:
    """The forward and backward pass of a device batch; the model is left on the device, in `dtype`."""
    facts, own = step.facts, precision in DTYPES
    model.to(device, dtype).load_state_dict(dict(step.weights))  # BatchNorm's statistics are those before the step
    model.zero_grad(set_to_none=True)
    given = moved(contents, device, dtype, type(model).on_host)
    set_matmul_precision(
        facts.matmul_precision if precision == facts.precision and dtype == torch.float32 else "highest"
    )
    set_generator_states(batch.generators, device)
    scale = (facts.loss_scale or 1.0) if own else 1.0
    with watching(model, scale) as trace:
        with autocast_of(precision, device.type):
            loss = model.training_losses(given)["loss"]
        trace.loss = float(loss.detach())
        torch.autograd.backward(loss * (scale / facts.accumulation))
    model.zero_grad(set_to_none=True)
    return trace


def _notes(step: NanStep, model: TransferModel, device: torch.device) -> "list[str]":
    facts, notes = step.facts, []
    if facts.device != device.type:
        notes.append(
            f"the run was on {facts.device}, this replay is on {device.type}: other kernels, and where the model draws "
            "at random on the device (drop path), other draws"
        )
    if facts.compiled:
        notes.append("the run's losses were compiled, here they are computed eagerly")
    if facts.processes > 1:
        notes.append(
            f"the file is of process {facts.process} of {facts.processes}; what the others sent is not in it "
            "(their gradients, and the statistics of synchronised BatchNorm)"
        )
    return notes
