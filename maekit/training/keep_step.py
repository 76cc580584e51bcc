"""Keeps a step whose loss or gradient was not finite in a file of the run's folder, for `maekit replay`."""

from typing import Any

import torch

from maekit.base.model import TransferModel
from maekit.replay.nan_step import DeviceBatch, StepFacts, contents_of
from maekit.replay.packing import pack
from maekit.runs.folder import shown
from maekit.training.callbacks.checkpoint_io import AtomicCheckpointIO
from maekit.training.run_module import RunModule
from maekit.training.step_guard import Found


def keep_step(module: RunModule, model: TransferModel, found: Found, fault: str) -> str:
    """Writes the step, in place of an earlier one; a failure to write is part of the message, and hides no fault.

    Args:
        module: what trains.
        model: with all its weights, those before the step.
        found: what was not finite.
        fault: the same in words.

    Returns:
        Where the file is, its size, and the command that looks at it; empty where none is to be kept.
    """
    path = module.nan_step
    if path is None:
        return ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # of another machine's process, whose run's folder is elsewhere
        AtomicCheckpointIO().save_checkpoint(_contents(module, model, found, fault), path)
    except Exception as error:  # whatever a task's data or the disk raise: the other processes wait for this message
        why = next(iter(str(error).splitlines()), type(error).__name__)
        return f"the step was not kept ({why})"
    size = path.stat().st_size / 1e6
    return f"to see in which layer: maekit replay {shown(path)} ({size:,.1f} MB)"


def _contents(module: RunModule, model: TransferModel, found: Found, fault: str) -> dict[str, object]:
    trainer, of_gradient = module.trainer, found.gradient is not None
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    config: Any = module.card["config"]
    facts = StepFacts(
        fault=fault,
        of_gradient=of_gradient,
        loss=found.loss,
        step=found.step,
        process=trainer.global_rank,
        processes=trainer.world_size,
        precision=str(trainer.precision),
        matmul_precision=str(config["run"]["matmul_precision"]),
        device=trainer.strategy.root_device.type,
        accumulation=module.plan.accumulation,
        loss_scale=float(scaler.get_scale()) if isinstance(scaler, torch.amp.GradScaler) else None,
        compiled=module.losses != module.model.training_losses,
    )
    # the gradient of a step is the sum over its device batches
    places = range(module.plan.accumulation) if of_gradient else (found.batch,)
    batches = []
    for place in places:
        drawn, generators = module.drawn_again(found.step, place)
        batches.append(DeviceBatch(place, pack(drawn), generators))
    return contents_of(module.card, facts, batches, model.state_dict())
