"""Matches a saved optimizer state to the groups of a resumed run by name, never by position."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from maekit.errors import UserError
from maekit.optim.groups import TorchGroup
from maekit.optim.schedules import Schedule

# `state_dict()` of an optimizer: `state`, tensors by a parameter's number and a name, and `param_groups`.
OptimizerState: TypeAlias = dict[str, Any]

OPTIONS = ("peak_lr", "weight_decay", "betas", "momentum", "trust_coefficient")  # a group's options that a recipe sets
_ADVICE = "resume with the settings of that run, or start anew from its weights with --model.weights FILE"


def restore_order(
    saved: OptimizerState, groups: Sequence[TorchGroup], may_differ: Collection[str] = ()
) -> OptimizerState:
    """Re-indexes a saved optimizer state to the order of `groups`, matching groups and parameters by name.

    Args:
        saved: `state_dict()` of an optimizer over groups of `maekit.optim.groups.parameter_groups`.
        groups: the groups of the run that resumes.
        may_differ: keys of a group, such as `betas`, that the run changes on purpose.

    Returns:
        A state dict for `load_state_dict` of an optimizer over `groups`: its tensors, and the `lr` where the schedule
        stood, are those of `saved`, all other options those of `groups`.

    Raises:
        UserError: a group or parameter is missing or extra, or an option differs that may not.
    """
    named = _by_name(saved["param_groups"])
    _same_names("optimizer groups", named, [group["name"] for group in groups])
    state: dict[int, dict[str, Tensor]] = {}
    param_groups: list[TorchGroup] = []
    first = 0
    for group in groups:
        old, names = named[group["name"]], group["parameter_names"]
        _same_group(old, group, may_differ)
        numbers = dict(zip(old["parameter_names"], old["params"], strict=True))
        for number, name in enumerate(names, first):
            if numbers[name] in saved["state"]:  # a parameter that never had a gradient has no state
                state[number] = saved["state"][numbers[name]]
        numbered = {"params": [*range(first, first + len(names))], "parameter_names": [*names], "lr": old["lr"]}
        param_groups.append({**old, **group, **numbered})
        first += len(names)
    return {"state": state, "param_groups": param_groups}


def place_schedule(
    saved: Mapping[str, object], groups: Sequence[TorchGroup], factor: Schedule, step: int
) -> dict[str, object]:
    """Puts a LambdaLR, and the groups' `lr`, on an optimizer step of this run's own schedule.

    The saved state may be of another peak rate or length, of groups in another order, or from between an optimizer's
    step and the schedule's.

    Args:
        saved: `state_dict()` of the LambdaLR.
        groups: of the optimizer's state, changed in place.
        factor: `factor(step, group)` multiplies a group's `peak_lr`.
        step: optimizer steps done.

    Returns:
        A state dict for `load_state_dict` of a LambdaLR over `groups`.
    """
    for group in groups:
        group["initial_lr"] = group["peak_lr"]
        group["lr"] = group["peak_lr"] * factor(step, group)
    rates, peaks = [group["lr"] for group in groups], [group["peak_lr"] for group in groups]
    place = {"base_lrs": peaks, "_last_lr": rates, "last_epoch": step, "_step_count": step + 1}
    return {**saved, **place, "lr_lambdas": [None] * len(groups)}


def _by_name(param_groups: Sequence[TorchGroup]) -> dict[str, TorchGroup]:
    for group in param_groups:
        if missing := {"name", "peak_lr", "weight_decay", "parameter_names"} - group.keys():
            raise UserError(
                f"got an optimizer state whose groups lack {', '.join(sorted(missing))}, expected one saved by maekit; "
                "start anew from its weights with --model.weights FILE"
            )
    return {group["name"]: group for group in param_groups}


def _same_group(old: TorchGroup, new: TorchGroup, may_differ: Collection[str]) -> None:
    name = new["name"]
    for key in OPTIONS:
        if key in may_differ or key not in old or key not in new:
            continue
        values = [tuple(v) if isinstance(v, list | tuple) else (v,) for v in (old[key], new[key])]
        if not all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(*values, strict=True)):
            then, now = (", ".join(f"{v:g}" for v in value) for value in values)
            raise UserError(
                f"got {key} {now} in optimizer group '{name}', expected {then} of the checkpoint; {_ADVICE}"
            )
    _same_names(f"parameters of optimizer group '{name}'", old["parameter_names"], new["parameter_names"])


def _same_names(what: str, old: Collection[str], new: Collection[str]) -> None:
    extra = [name for name in new if name not in old]
    missing = [name for name in old if name not in new]
    if extra or missing:
        differences = [f"{len(e)} {how} ({', '.join(e[:3])})" for e, how in ((extra, "new"), (missing, "missing")) if e]
        raise UserError(f"got {' and '.join(differences)} in the {what}, expected those of the checkpoint; {_ADVICE}")
