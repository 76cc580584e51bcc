"""Tries strategy, recomputing and device batch, and finds which of them fit on the devices."""

from dataclasses import dataclass
from types import ModuleType

from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan, solve_batch
from maekit.planning.costs import Disk, Length, Rate, disk_of, length_of, seconds_per_step, validation_seconds
from maekit.planning.devices import Devices
from maekit.planning.images import Images
from maekit.planning.memory import Counts, Memory, build_on_meta, count, memory_of, sizes_of
from maekit.planning.probe import rate_of
from maekit.planning.state import State, Strategy, state_of
from maekit.planning.target import Target
from maekit.recipes.settings import Settings

RECOMPUTE = "model.gradient_checkpointing"
DEVICE_BATCH = "data.device_batch_size"


@dataclass(frozen=True)
class Choice:
    """One way to run.

    Attributes:
        strategy: how the devices work together.
        recompute: whether blocks are computed again in the backward pass.
        batch: how a step's images are divided.
        memory: of one device.
        fits: whether that is there.
        seconds: of one optimizer step, predicted; None where nothing is known of the devices' speed.
    """

    strategy: Strategy
    recompute: bool
    batch: BatchPlan
    memory: Memory
    fits: bool
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a run will need.

    Attributes:
        devices: that it is planned for.
        target: kind and precision.
        images: the data.
        state: of one device without sharding.
        num_parameters: of the model, and how many of them are trained.
        counts: of a step, with and without recomputed blocks.
        choices: all that were tried, by strategy, recomputing and device batch.
        smallest: bytes of the choice that needs least.
        length: of the run.
        rate: of one device; None where nothing is known of it.
        validation: seconds of one validation, predicted.
        disk: of the run's folder.
    """

    devices: Devices
    target: Target
    images: Images
    state: State
    num_parameters: tuple[int, int]
    counts: dict[bool, Counts]
    choices: list[Choice]
    smallest: int
    length: Length
    rate: Rate | None
    validation: float | None
    disk: Disk

    def best(self) -> list[Choice]:
        """Returns for each strategy and recomputing the largest device batch that fits.

        The least arithmetic comes first, then what communicates least: ddp sums gradients once a step, fsdp2 gathers
        parameters in every pass.
        """
        largest: dict[tuple[Strategy, bool], Choice] = {}
        for choice in self.choices:
            if choice.fits:
                largest[choice.strategy, choice.recompute] = choice
        return sorted(largest.values(), key=lambda choice: (choice.recompute, choice.strategy))


def precision_of(given: str, devices: Devices) -> str:
    """Returns the precision of a run on these devices, `auto` resolved as the run does it."""
    if given != "auto":
        if devices.kind == "cpu" and given == "16-mixed":
            raise UserError("trainer.precision: got 16-mixed, which needs a GPU; on a CPU use bf16-mixed or 32-true")
        return given
    if devices.kind == "cpu":
        from maekit.system.hardware import auto_precision

        return auto_precision("cpu")
    return "bf16-mixed" if devices.bf16 and devices.kind == "cuda" else "32-true"


def make_plan(module: ModuleType, settings: Settings, devices: Devices, images: Images, share: float | None) -> Plan:
    """Returns the plan of a task on devices.

    Args:
        module: the task.
        settings: checked values of every section.
        devices: see `find_devices`.
        images: see `images_of`.
        share: of a card's peak arithmetic that is reached; None for an assumption.

    Raises:
        UserError: the total batch cannot be divided among the devices, or a given setting contradicts them.
    """
    values = settings.values
    target = Target(devices.kind, precision_of(values["trainer"]["precision"], devices))
    model = build_on_meta(module, images.spec, values["model"])
    batches = _batches(settings, model, devices.count)
    recompute = _recompute(settings)
    counts = dict(zip(recompute, count(model, target, recompute), strict=True))
    own = counts.get(bool(values["model"].get("gradient_checkpointing")), counts[recompute[0]])
    rate = rate_of(module, images.spec, values, devices, target, own, share)
    average = values["model"].get("ema_decay") is not None
    strategies = _strategies(values["trainer"]["strategy"], target, devices.count)
    states = {
        strategy: state_of(
            model, values["optim"]["optimizer"], average=average, strategy=strategy, devices=devices.count
        )
        for strategy in dict.fromkeys(("one", *strategies))
    }
    choices = [
        _choice(counts[again], states[strategy], strategy, batch, devices, rate)
        for strategy in strategies
        for again in counts
        for batch in batches
    ]
    first = next(iter(counts.values()))
    return Plan(
        devices,
        target,
        images,
        states["one"],
        _parameters(model),
        counts,
        choices,
        min(choice.memory.total for choice in choices),
        length_of(values["trainer"], images, values["data"]["total_batch_size"]),
        rate,
        validation_seconds(first, images, devices.count, rate) if rate else None,
        disk_of(states["one"]),
    )


def _strategies(given: str, target: Target, devices: int) -> list[Strategy]:
    """The strategies that may be used: fsdp2 has no gradient scaler, so none with 16-mixed."""
    if devices == 1:
        return ["one"]
    if given == "fsdp2":
        if target.precision == "16-mixed":
            raise UserError("got --trainer.strategy fsdp2 with 16-mixed, expected bf16-mixed or 32-true")
        return ["fsdp2"]
    if given.startswith("ddp"):
        return ["ddp"]
    return ["ddp", "fsdp2"] if target.precision != "16-mixed" else ["ddp"]


def _recompute(settings: Settings) -> list[bool]:
    section = settings.values["model"]
    if "gradient_checkpointing" not in section:
        return [False]
    return [bool(section["gradient_checkpointing"])] if RECOMPUTE in settings.given else [False, True]


def _batches(settings: Settings, model: TransferModel, devices: int) -> list[BatchPlan]:
    data, even = settings.values["data"], model.pairs_images
    total = data["total_batch_size"]
    if DEVICE_BATCH in settings.given and data["device_batch_size"] != "auto":
        return [solve_batch(total, data["device_batch_size"], devices, even=even, least=model.least_images)]
    return [solve_batch(total, size, devices, even=even) for size in sizes_of(model, total, devices)]


def _choice(
    counts: Counts, state: State, strategy: Strategy, batch: BatchPlan, devices: Devices, rate: Rate | None
) -> Choice:
    memory = memory_of(counts, state, batch.device_batch, devices.kind)
    seconds = seconds_per_step(counts, batch, rate, state, devices.bandwidth) if rate else None
    return Choice(strategy, counts.recompute, batch, memory, memory.total <= devices.memory, seconds)


def _parameters(model: TransferModel) -> tuple[int, int]:
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
