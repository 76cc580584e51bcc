"""How fast a device trains: a card by a share of its peak, this machine by a few steps that are run and timed."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maekit.backbone.block import Block
from maekit.backbone.sizes import load_size
from maekit.base.spec import DataSpec
from maekit.optim.clip import gradient_norms, total_norm
from maekit.optim.settings import Optimisation
from maekit.planning.costs import SHARE, Rate
from maekit.planning.devices import Devices
from maekit.planning.memory import FEW, Counts
from maekit.planning.target import Target
from maekit.system.hardware import autocast_of

LARGE = 2e11  # operations of a step of FEW images, above which one block is timed in place of the model on a CPU
TOKENS = 197  # of the block that is timed then
SECONDS = 1.0  # for the steps of one size
Values = Mapping[str, Mapping[str, Any]]


def rate_of(
    module: ModuleType,
    spec: DataSpec,
    values: Values,
    devices: Devices,
    target: Target,
    counts: Counts,
    share: float | None,
) -> Rate | None:
    """Returns the speed of one device, or None where nothing is known of it.

    Args:
        module: the task.
        spec: of the data.
        values: checked values of every section.
        devices: see `find_devices`.
        target: kind and precision.
        counts: of a step as the recipe has it.
        share: of a card's peak; None for `SHARE`. Devices of this machine are measured.
    """
    if devices.here:
        return _measured(module, spec, values, devices, target, counts)
    peak = devices.peak(target.precision)
    if peak is None:
        return None
    part = SHARE if share is None else share
    said = "given" if share is not None else "an assumption, --share replaces it"
    return Rate(part * peak, 0.0, f"{part:.0%} of the card's {peak / 1e12:g} Tflop/s ({said})")


def _measured(
    module: ModuleType, spec: DataSpec, values: Values, devices: Devices, target: Target, counts: Counts
) -> Rate:
    threads = torch.get_num_threads()
    torch.set_num_threads(values["run"]["num_threads"] or threads)
    try:
        if devices.kind == "cpu" and counts.flops.at(FEW) > LARGE:
            rate = _of_block(values["model"]["backbone"], target)
        else:
            rate = _of_steps(module, spec, values, target, counts)
    finally:
        torch.set_num_threads(threads)
    if devices.kind == "cpu" and devices.count > 1:  # which share its cores
        return Rate(rate.flops / devices.count, rate.overhead * devices.count, rate.origin)
    return rate


def _of_steps(module: ModuleType, spec: DataSpec, values: Values, target: Target, counts: Counts) -> Rate:
    """Times steps of two sizes: what grows with the images is the rate, what does not is the overhead."""
    step = _real_step(module, spec, values, target)
    small = _time(lambda: step(FEW))
    total, given = values["data"]["total_batch_size"], values["data"]["device_batch_size"]
    share = given if isinstance(given, int) else total
    fits = int(LARGE / 4 / counts.flops.slope)
    images = min(share, total, fits) // 2 * 2
    if images <= FEW:
        return Rate(counts.flops.at(FEW) / small, 0.0, f"a step of {FEW} images on this machine took {small:.3g} s")
    large = _time(lambda: step(images))
    flops = (counts.flops.at(images) - counts.flops.at(FEW)) / max(large - small, large / images)
    overhead = max(large - counts.flops.at(images) / flops, 0.0)
    origin = f"steps of {FEW} and {images} images on this machine took {small:.3g} and {large:.3g} s"
    return Rate(flops, overhead, origin)


def _real_step(module: ModuleType, spec: DataSpec, values: Values, target: Target) -> Callable[[int], None]:
    """Returns a function that trains a fresh model for one step of so many made images."""
    device = torch.device(target.kind)
    model = module.Model.build(spec, values["model"]).to(device).train()
    optimizer = Optimisation(**values["optim"]).make_optimizer(
        model, model.backbone, values["data"]["total_batch_size"]
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batches: dict[int, Any] = {}

    def step(images: int) -> None:
        if images not in batches:
            made = model.example_batch(images)
            made = made._replace(image=torch.rand_like(made.image))
            batches[images] = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, made)
        with autocast_of(target.precision, target.kind):
            loss = model.training_losses(model.drawn(batches[images]))["loss"]
        loss.backward()
        float(total_norm(gradient_norms([p.grad for p in parameters if p.grad is not None])))
        optimizer.step()
        optimizer.zero_grad()

    return step


def _of_block(size: str, target: Target) -> Rate:
    """Times one transformer block of a size on one image's tokens."""
    chosen = load_size(size)
    block = Block(chosen.embed_dim, chosen.num_heads, drop_path=0.0, window=0)
    tokens = torch.rand(1, TOKENS, chosen.embed_dim, requires_grad=True)

    def step() -> None:
        with autocast_of(target.precision, target.kind):
            out: Tensor = block(tokens, (1, TOKENS))
        out.sum().backward()  # type: ignore[no-untyped-call]

    seconds = _time(step)
    products = 12 * TOKENS * chosen.embed_dim**2 + 2 * TOKENS**2 * chosen.embed_dim
    return Rate(6 * products / seconds, 0.0, f"one block of {size} on this machine took {seconds:.3g} s")


def _time(step: Callable[[], None]) -> float:
    """Returns the median seconds of a step, of as many as `SECONDS` allow, 3 or more, after one that is not counted."""
    step()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < SECONDS and len(times) < 30):
        start = perf_counter()
        step()
        times.append(perf_counter() - start)
    return median(times)
