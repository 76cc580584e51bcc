"""Keeps a NaN or an infinity out of the weights without a host read: what was found stays on the device for a look."""

from typing import NamedTuple

import torch
from torch import Tensor

LOOK_STEPS = 10  # between two looks on an accelerator, where each look waits for the device


class Found(NamedTuple):
    """The first value of a run that was not finite.

    Attributes:
        step: optimizer steps done before it.
        batch: which device batch of that step it was, from 0.
        loss: that batch's loss; NaN or infinite, or the last one before a gradient that is not finite.
        gradient: whose gradient it was, as a place among the parameters that have one; None for the loss.
    """

    step: int
    batch: int
    loss: float
    gradient: int | None


class StepGuard:
    """A flag on the device that is up from the first loss or gradient that is not finite until the run ends.

    While it is up no step changes the weights: the optimizer is given `found_inf`, and every loss becomes NaN, which
    DDP spreads to the other processes' gradients, so that the flag is up in all of them in the same step.

    Args:
        device: where losses and gradients are.
    """

    def __init__(self, device: torch.device) -> None:
        self.flag = torch.zeros((), dtype=torch.bool, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        # step, device batch, loss and gradient's place of the first fault; float64 holds whole numbers up to 2 ** 53
        self._found = [torch.full_like(self._loss, -1.0) for _ in range(4)]
        self._batch = 0

    def guarded(self, loss: Tensor, step: int, batch: int) -> Tensor:
        """Returns a loss for the backward pass, a scalar; NaN while the flag is up.

        Args:
            loss: of one device batch, a scalar.
            step: optimizer steps done.
            batch: the device batch of this step, from 0.
        """
        self._loss, self._batch = loss.detach().double(), batch
        self._note(~loss.detach().isfinite(), step, -1.0)
        return loss * torch.ones_like(loss.detach()).masked_fill(self.flag, torch.nan)

    def see_gradients(self, norms: Tensor, norm: Tensor, step: int) -> None:
        """Raises the flag if a gradient is not finite.

        Args:
            norms: [P], the L2 norm of each gradient.
            norm: of all of them.
            step: optimizer steps done.
        """
        if len(norms):
            largest = norms.nan_to_num(nan=torch.inf, posinf=torch.inf).argmax()
            self._note(~norm.isfinite(), step, largest.double())

    def found_inf(self) -> Tensor:
        """Returns 1 while the flag is up, else 0, a scalar float as fused optimizers and `LARS` take it."""
        return self.flag.float()

    def look(self) -> Found | None:
        """Returns what raised the flag, or None; waits for the device."""
        step, batch, loss, place = torch.stack(self._found).tolist()
        if step < 0:
            return None
        return Found(int(step), int(batch), loss, int(place) if place >= 0 else None)

    def _note(self, bad: Tensor, step: int, place: Tensor | float) -> None:
        first = bad & ~self.flag
        values = (float(step), float(self._batch), self._loss, place)
        self._found = [torch.where(first, value, kept) for value, kept in zip(values, self._found, strict=True)]
        self.flag = self.flag | bad
