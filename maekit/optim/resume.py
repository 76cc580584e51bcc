"""A saved optimizer state is matched to the run's groups by name, never by position."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from maekit.errors import UserError

_MEND = "resume with the settings of that run, or start anew from its weights with --model.weights FILE"


def restore_order(saved: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Re-indexes a saved optimizer state to the order of `groups`, matching groups and parameters by name.

    Args:
        saved: `state_dict()` of an optimizer over groups of `maekit.optim.groups.parameter_groups`.
        groups: the groups of the run that resumes.

    Returns:
        A state dict for `load_state_dict` of an optimizer over `groups`; its tensors are those of `saved`.

    Raises:
        UserError: a group or parameter is missing or extra, or a peak learning rate or weight decay differs.
    """
    named = _by_name(saved["param_groups"])
    _same_names("optimizer groups", named, [group["name"] for group in groups])
    state: dict[int, Any] = {}
    param_groups: list[dict[str, Any]] = []
    first = 0
    for group in groups:
        old, names = named[group["name"]], group["parameter_names"]
        _same_group(old, group)
        numbers = dict(zip(old["parameter_names"], old["params"], strict=True))
        for number, name in enumerate(names, first):
            if numbers[name] in saved["state"]:  # a parameter that never had a gradient has no state
                state[number] = saved["state"][numbers[name]]
        param_groups.append({**old, "params": [*range(first, first + len(names))], "parameter_names": [*names]})
        first += len(names)
    return {"state": state, "param_groups": param_groups}


def _by_name(param_groups: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    for group in param_groups:
        if missing := {"name", "peak_lr", "weight_decay", "parameter_names"} - group.keys():
            raise UserError(
                f"got an optimizer state whose groups lack {', '.join(sorted(missing))}, expected one saved by maekit; "
                "start anew from its weights with --model.weights FILE"
            )
    return {group["name"]: group for group in param_groups}


def _same_group(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    name = new["name"]
    for key in ("peak_lr", "weight_decay"):
        if not math.isclose(old[key], new[key], rel_tol=1e-9):
            raise UserError(
                f"got {key} {new[key]:g} in optimizer group '{name}', expected {old[key]:g} of the checkpoint; {_MEND}"
            )
    _same_names(f"parameters of optimizer group '{name}'", old["parameter_names"], new["parameter_names"])


def _same_names(what: str, old: Collection[str], new: Collection[str]) -> None:
    extra = [name for name in new if name not in old]
    missing = [name for name in old if name not in new]
    if extra or missing:
        differences = [f"{len(e)} {how} ({', '.join(e[:3])})" for e, how in ((extra, "new"), (missing, "missing")) if e]
        raise UserError(f"got {' and '.join(differences)} in the {what}, expected those of the checkpoint; {_MEND}")
