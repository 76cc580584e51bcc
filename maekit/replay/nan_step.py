"""The file of a step whose loss or gradient was not finite: what it holds, and how it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from maekit.base.checkpoint_card import KEY as CARD
from maekit.base.checkpoint_card import Card, read_card
from maekit.errors import UserError
from maekit.version import __version__
from maekit.weights.read.safe_load import load_file

KEY, FORMAT, FILE = "replay", 1, "nan_step.pt"


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """How a step was computed that was not finite.

    Attributes:
        fault: what the run said of it.
        of_gradient: whether the loss was finite and a gradient was not.
        loss: of the device batch.
        step: optimizer steps done before it.
        process: which of the run's `processes` saw it, from 0.
        precision: `trainer.precision` as Lightning resolved it, such as `bf16-mixed`.
        matmul_precision: `run.matmul_precision`.
        device: kind of device, such as `cuda`.
        accumulation: device batches of an optimizer step.
        loss_scale: of fp16's gradient scaler; None without one.
        compiled: whether the losses were compiled.
    """

    fault: str
    of_gradient: bool
    loss: float
    step: int
    process: int
    processes: int
    precision: str
    matmul_precision: str
    device: str
    accumulation: int
    loss_scale: float | None
    compiled: bool


@dataclass(frozen=True)
class DeviceBatch:
    """One device batch of the step.

    Attributes:
        place: which of the step's device batches it is, from 0.
        packed: the batch, drawn, as `packing.pack` makes it.
        generators: states right before the losses, of `system.generators.generator_states`.
    """

    place: int
    packed: Any
    generators: Mapping[str, Any]


@dataclass(frozen=True)
class NanStep:
    """The contents of a file.

    Attributes:
        card: task, recipe and configuration of the run.
        facts: how the step was computed.
        batches: its device batches, or of a loss that was not finite the one that gave it.
        weights: of the model before the step.
    """

    card: Card
    facts: StepFacts
    batches: Sequence[DeviceBatch]
    weights: Mapping[str, Tensor]


def contents_of(
    card: Mapping[str, object], facts: StepFacts, batches: Sequence[DeviceBatch], weights: Mapping[str, Tensor]
) -> dict[str, object]:
    """Returns what a file holds, as plain values; its card and weights are in the form of a checkpoint's."""
    step = {"format": FORMAT, "maekit": __version__, "facts": asdict(facts)}
    kept = [{"place": one.place, "batch": one.packed, "generators": dict(one.generators)} for one in batches]
    state = {f"model.{name}": tensor.detach().cpu() for name, tensor in weights.items()}
    return {CARD: {**card, "step": facts.step}, "state_dict": state, KEY: {**step, "batches": kept}}


def read_nan_step(path: Path) -> NanStep:
    """Reads a file.

    Raises:
        UserError: it is missing, damaged, of another version, or something else.
    """
    contents = load_file(path)
    found = contents.get(KEY) if isinstance(contents, Mapping) else None
    if not isinstance(contents, Mapping) or not isinstance(found, Mapping):
        raise UserError(f"{path} is no step to replay; expected {FILE} of a run that ended by a NaN or an infinity")
    if found.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {found.get('format')} of maekit {found.get('maekit')}, expected {FORMAT}, which maekit "
            f"{__version__} reads; replay it with the maekit that wrote it"
        )
    try:
        batches = [DeviceBatch(int(one["place"]), one["batch"], dict(one["generators"])) for one in found["batches"]]
        facts = StepFacts(**found["facts"])
        weights = {str(name).removeprefix("model."): tensor for name, tensor in contents["state_dict"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged, expected all of a step in it: {error}; copy it again") from error
    if not batches:
        raise UserError(f"{path} is damaged, expected a device batch in it; copy it again")
    return NanStep(read_card(path), facts, batches, weights)
