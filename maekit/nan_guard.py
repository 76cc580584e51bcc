"""What happens when a loss is not finite: the run stops before the optimizer steps, and says where it began."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from maekit.errors import UserError


def check_finite(model: Any, batch: Any, losses: Mapping[str, Tensor], step: int) -> None:
    """Stops the run when the loss is NaN or infinite.

    Args:
        model: a TransferModel.
        batch: the batch that gave the losses.
        losses: loss terms; `loss` is checked, the others are named in the message.
        step: optimizer steps done so far.

    Raises:
        UserError: names the first layer whose parameters or output are not finite, and what to try.
    """
    value = float(losses["loss"].detach())
    if math.isfinite(value):
        return
    raise UserError(
        f"loss is {value} at step {step}, begun in {_first_bad(model, batch)}; the weights before it are kept in "
        "last.ckpt. Try --trainer.precision 32-true, a lower learning rate, or --trainer.gradient_clip_val 1"
    )


def _first_bad(model: Any, batch: Any) -> str:
    images = getattr(batch, "image", None)
    if isinstance(images, Tensor) and not bool(images.isfinite().all()):
        return "the images of this batch"
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"parameter {name}"
    return _first_bad_output(model, batch) or "the loss itself (all layers are finite)"


def _first_bad_output(model: nn.Module, batch: Any) -> str | None:
    bad: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not bad and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                bad.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves if name]
    try:
        with torch.no_grad():
            model.training_losses(batch)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return bad[0] if bad else None
