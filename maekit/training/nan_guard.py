"""Stops a run when a loss, a gradient or a weight is NaN or infinite, and reports where the NaN began.

Losses and gradients are checked on the device before the optimizer uses them (`step_guard`), so the weights in memory
stay those of the last good step. The tensors of a checkpoint are checked before it replaces an earlier one.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.training.shards import local
from maekit.training.step_guard import Found

Named = tuple[str, Tensor]


class NotFiniteError(UserError):
    """A loss, a gradient or a weight is NaN or infinite. Every process of a run raises it together.

    Args:
        found: what is not finite, in which layer, and at which optimizer step.

    Attributes:
        kept: the checkpoint that remains, and its step; set when the run has ended.
        replay: the file of the step and how to look at it; empty where none was written.
    """

    shared = True

    def __init__(self, found: str, replay: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.kept = ""
        self.replay = replay

    def __str__(self) -> str:
        parts = (self.found, self.kept or "nothing was saved", *([self.replay] if self.replay else []))
        return (
            f"{'; '.join(parts)}. Try a lower learning rate, --trainer.gradient_clip_val 1, or "
            "--trainer.precision 32-true where another is used"
        )


def loss_fault(model: TransferModel, batch: object, found: Found) -> str:
    """Returns a message about a loss that is not finite.

    Args:
        model: what is trained, with the weights of that step.
        batch: the device batch that gave the loss, drawn.
        found: the loss and its step.

    Returns:
        The loss, the step, and the first layer with parameters or an output that are not finite.
    """
    return f"loss is {found.loss} at step {found.step}, begun in {_first_bad(model, batch)}"


def gradient_fault(model: nn.Module, parameters: Sequence[nn.Parameter], found: Found) -> str:
    """Returns a message that names the first gradient that is not finite.

    Args:
        model: what is trained.
        parameters: those whose gradients were looked at, in their order.
        found: the gradient's place among those that have one, and its step.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    having = [p for p in parameters if p.grad is not None]
    place = found.gradient or 0
    name = names[id(having[place])] if place < len(having) else "a parameter"
    return f"the gradient of {name} is not finite at step {found.step}"


def state_fault(module: nn.Module, optimizers: Iterable[Optimizer], more: Iterable[Named] = ()) -> str | None:
    """Returns the first of a run's tensors that is not finite, or None.

    Args:
        module: its parameters and buffers, such as BatchNorm's statistics, are checked.
        optimizers: their state is checked.
        more: further tensors with what they are, such as averaged weights.
    """
    names = {id(p): name for name, p in module.named_parameters()}
    kept = [
        (f"the optimizer's {key} of {names.get(id(p), 'a parameter')}", value)
        for optimizer in optimizers
        for p, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    ]
    return first_bad([*module.state_dict().items(), *kept, *more])


def anywhere(trainer: Trainer, here: bool) -> bool:
    """Returns whether something is true in any process of a run; all of them must ask."""
    return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here


def raise_together(trainer: Trainer, fault: str | None, *, known: bool, keep: Callable[[], str] | None = None) -> None:
    """Stops every process of a run if any of them has a fault; all of them must call this at the same place.

    Args:
        trainer: Lightning's Trainer.
        fault: what this process found, or None.
        known: whether a fault in one process is a fault in all, as with gradients, which DDP averages.
        keep: called in the one process whose fault is reported; writes the step into a file, and returns a message.

    Raises:
        NotFiniteError: the same in every process.
    """
    alone = trainer.world_size == 1
    bad = fault is not None
    if not (alone or known):
        bad = anywhere(trainer, bad)
    if not bad:
        return
    if alone:
        raise NotFiniteError(str(fault), keep() if keep is not None else "")
    found = _of_all(trainer, fault)
    first = min((not text.startswith("loss"), rank) for rank, text in enumerate(found) if text)[1]
    mine = keep() if keep is not None and first == trainer.global_rank else ""
    raise NotFiniteError(f"{found[first]} (process {first})", _of_all(trainer, mine)[first] or "")


def _of_all(trainer: Trainer, text: str | None) -> list[str | None]:
    found: list[str | None] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, text)
    return found


@torch.no_grad()
def first_bad(tensors: Iterable[Named]) -> str | None:
    """Returns the name of the first tensor with a NaN or an infinity in it, or None; one host read a device.

    Of a sharded tensor each process looks at its own part.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[Named]] = {}
    for name, tensor in tensors:
        if tensor.is_floating_point():
            kinds.setdefault((tensor.device, tensor.dtype), []).append((name, local(tensor)))
    return next((bad for group in kinds.values() if (bad := _first_bad_of(group))), None)


def _first_bad_of(group: Sequence[Named]) -> str | None:
    norms = torch.stack(list(torch._foreach_norm([tensor for _, tensor in group])))
    if bool(norms.isfinite().all()):
        return None
    suspects = (pair for pair, finite in zip(group, norms.isfinite().tolist(), strict=True) if not finite)
    return next((name for name, tensor in suspects if not bool(tensor.isfinite().all())), None)  # squares may overflow


def _first_bad(model: TransferModel, batch: object) -> str:
    images = getattr(batch, "image", None)
    if isinstance(images, Tensor) and not bool(images.isfinite().all()):
        return "the images of this batch"
    if name := first_bad(model.named_parameters()):
        return f"parameter {name}"
    return _first_bad_output(model, batch) or "the loss itself (all layers are finite)"


def _first_bad_output(model: TransferModel, batch: object) -> str | None:
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return None  # its forward pass waits for the other processes, which may have a finite loss
    bad: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not bad and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                bad.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves if name]
    try:
        with torch.no_grad():
            model.training_losses(batch)
    finally:
        for handle in handles:
            handle.remove()
    return bad[0] if bad else None
