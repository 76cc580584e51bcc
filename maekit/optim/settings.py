"""The recipe section `optim`: its values, their ranges, and the optimizer and schedule they make."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from maekit.errors import UserError
from maekit.optim.batch_plan import scaled_lr
from maekit.optim.groups import (
    LayeredBackbone,
    ParameterRow,
    Rule,
    check_groups,
    parameter_groups,
    parameter_rows,
)
from maekit.optim.schedules import Schedule, make_schedule
from maekit.system.ranges import check_numbers, check_range

if TYPE_CHECKING:  # flags are checked without torch
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Optimisation:
    """An optimizer with layer-wise learning-rate decay and a per-step schedule.

    Args:
        base_lr: peak lr for 256 images; the lr used is base_lr x total batch / 256. Give this or `lr`, not both.
        lr: absolute peak lr for the recipe's own total batch.
        layer_decay: factor per layer, in (0, 1]; 1 gives every layer the same lr.
        weight_decay: AdamW's decoupled weight decay, or what LARS and SGD add to the gradient; 0 or more.
        no_weight_decay: which parameters are exempt from weight decay.
        optimizer: `adamw`; `lars` as MAE's linear probe uses it, or `sgd` as DINO's, DINOv2's and MoCo v3's do.
        betas: AdamW's two betas, each in [0, 1).
        momentum: of LARS and SGD, in [0, 1).
        trust_coefficient: of LARS, above 0: the step of a tensor is this share of its norm.
        schedule: shape of the lr after the warmup.
        warmup_epochs: length of the linear warmup in epochs (fractions allowed). Give this or `warmup_steps`.
        warmup_steps: length of the linear warmup in optimizer steps.
        warmup_start: the warmup's first factor, in [0, 1].
        min_lr: the floor of the schedule.
        min_lr_scaled: whether the floor too is multiplied by each layer's scale (as facebookresearch/mae does).
        power: exponent of `poly`.
        poly_after_warmup: whether `poly` counts from the end of the warmup, not from step 0.
        milestones: optimizer steps at which `multistep` multiplies the lr by `gamma`.
        gamma: factor of `multistep`.
    """

    base_lr: float | None
    lr: float | None
    layer_decay: float
    weight_decay: float
    no_weight_decay: list[Rule]
    schedule: Literal["cosine", "poly", "multistep"]
    min_lr: float
    min_lr_scaled: bool
    optimizer: Literal["adamw", "lars", "sgd"] = "adamw"
    betas: list[float] | None = None
    momentum: float | None = None
    trust_coefficient: float | None = None
    warmup_epochs: float | None = None
    warmup_steps: int | None = None
    warmup_start: float = 0.0
    power: float = 1.0
    poly_after_warmup: bool = False
    milestones: list[int] | None = None
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        _require_one("optim.base_lr", self.base_lr, "optim.lr", self.lr)
        if self.warmup_epochs is not None:
            _require_one("optim.warmup_epochs", self.warmup_epochs, "optim.warmup_steps", self.warmup_steps)
        _require(0 < self.layer_decay <= 1, "optim.layer_decay in (0, 1]", self.layer_decay)
        check_range("optim.weight_decay", self.weight_decay, "[0, inf)")
        check_range("optim.warmup_epochs", self.warmup_epochs, "[0, inf)")
        check_range("optim.warmup_steps", self.warmup_steps, "[0, inf)")
        check_range("optim.warmup_start", self.warmup_start, "[0, 1]")
        check_range("optim.power", self.power, "(0, inf)")
        check_range("optim.gamma", self.gamma, "(0, 1]")
        check_numbers("optim.milestones", self.milestones, "[1, inf)")
        rising = self.milestones is None or sorted(set(self.milestones)) == list(self.milestones)
        _require(rising, "optim.milestones in rising order", self.milestones)
        check_range("optim.momentum", self.momentum, "[0, 1)")
        check_range("optim.trust_coefficient", self.trust_coefficient, "(0, inf)")
        check_range("optim.base_lr", self.base_lr, "(0, inf)")
        check_range("optim.lr", self.lr, "(0, inf)")
        check_range("optim.min_lr", self.min_lr, "[0, inf)")
        self._check_optimizer()
        _require(
            self.schedule != "multistep" or bool(self.milestones), "optim.milestones for multistep", self.milestones
        )

    def _check_optimizer(self) -> None:
        if self.optimizer == "adamw":
            betas = self.betas or []
            _require(len(betas) == 2 and all(0 <= b < 1 for b in betas), "two optim.betas in [0, 1)", self.betas)
        else:
            momentum, trust = self.momentum, self.trust_coefficient
            name = self.optimizer
            _require(momentum is not None and 0 <= momentum < 1, f"optim.momentum in [0, 1) for {name}", momentum)
            _require(name == "sgd" or (trust or 0) > 0, "optim.trust_coefficient above 0 for lars", trust)

    def peak_lr(self, total_batch_size: int) -> float:
        """The head's peak learning rate at this total batch."""
        return scaled_lr(self.base_lr, self.lr, total_batch_size)

    def rows(self, model: "nn.Module", backbone: LayeredBackbone, total_batch_size: int) -> list[ParameterRow]:
        """One row for each trainable parameter: layer, scale, lr, weight decay."""
        return parameter_rows(
            model,
            backbone,
            lr=self.peak_lr(total_batch_size),
            layer_decay=self.layer_decay,
            weight_decay=self.weight_decay,
            no_weight_decay=self.no_weight_decay,
        )

    def make_optimizer(self, model: "nn.Module", backbone: LayeredBackbone, total_batch_size: int) -> "Optimizer":
        """The optimizer over real parameter groups, one for each layer and decay kind; fused kernels but for LARS."""
        from maekit.optim.lars import LARS
        from maekit.optim.never_compiled import SGD, AdamW

        groups = parameter_groups(model, self.rows(model, backbone, total_batch_size))
        check_groups(model, groups)
        if self.optimizer == "adamw":
            assert self.betas is not None
            return AdamW(groups, betas=(self.betas[0], self.betas[1]), fused=True)
        assert self.momentum is not None
        if self.optimizer == "sgd":
            return SGD(groups, momentum=self.momentum, fused=True)  # the others take no found_inf
        assert self.trust_coefficient is not None
        return LARS(groups, momentum=self.momentum, trust_coefficient=self.trust_coefficient)

    def num_warmup_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the linear warmup."""
        warmup = self.warmup_steps if self.warmup_epochs is None else round(self.warmup_epochs * steps_per_epoch)
        return warmup or 0

    def factor(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """The schedule `factor(step, group)` that multiplies each group's peak lr."""
        return make_schedule(
            self.schedule,
            total_steps=total_steps,
            warmup_steps=self.num_warmup_steps(steps_per_epoch),
            warmup_start=self.warmup_start,
            min_lr=self.min_lr,
            min_lr_scaled=self.min_lr_scaled,
            power=self.power,
            poly_after_warmup=self.poly_after_warmup,
            milestones=self.milestones or [],
            gamma=self.gamma,
        )


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise UserError(f"got {got}, expected {expected}; set it in the recipe or by its flag")


def _require_one(name: str, value: float | None, other: str, others: float | None) -> None:
    """Refuses two settings of one number, or neither; with the flag that makes the other null."""
    if value is not None and others is not None:
        raise UserError(
            f"got {name} {value:g} and {other} {others:g}, expected one of them; add --{name} null to use {other}, or "
            f"--{other} null"
        )
    if value is None and others is None:
        raise UserError(f"got neither {name} nor {other}, expected one of them; give --{name} or --{other}")
