"""Flags that change nothing, since another setting decides that they are not used."""

from collections.abc import Callable, Mapping

from maekit.recipes.recipe import flat
from maekit.recipes.settings import Settings

_Flat = Mapping[str, object]


def _is(key: str, *values: str) -> Callable[[_Flat], str]:
    """Returns what names a setting that is none of `values`, and what it would have to be; empty where it is one."""
    return lambda now: "" if now.get(key) in values else f"{key} is {_text(now.get(key))}, not {' or '.join(values)}"


def _above_zero(*keys: str) -> Callable[[_Flat], str]:
    """Returns what says that none of some settings is above 0; empty where one is."""
    return lambda now: "" if any(now.get(key) for key in keys) else f"neither of {', '.join(keys)} is above 0"


def _both(*keys: str) -> Callable[[_Flat], str]:
    return lambda now: next((f"{key} is {_text(now.get(key))}" for key in keys if not now.get(key)), "")


def _null(key: str) -> Callable[[_Flat], str]:
    return lambda now: "" if now.get(key) is None else f"{key} is {_text(now[key])}"


_MULTISTEP, _POLY = _is("optim.schedule", "multistep"), _is("optim.schedule", "poly")
_USED_WITH: dict[str, Callable[[_Flat], str]] = {
    "optim.betas": _is("optim.optimizer", "adamw"),
    "optim.momentum": _is("optim.optimizer", "lars", "sgd"),
    "optim.trust_coefficient": _is("optim.optimizer", "lars"),
    "optim.power": _POLY,
    "optim.poly_after_warmup": _POLY,
    "optim.milestones": _MULTISTEP,
    "optim.gamma": _MULTISTEP,
    "optim.warmup_start": _above_zero("optim.warmup_epochs", "optim.warmup_steps"),
    "optim.min_lr_scaled": _both("optim.min_lr"),
    "model.mix_probability": _above_zero("model.mixup", "model.cutmix"),
    "model.mix_switch_probability": _both("model.mixup", "model.cutmix"),
    "data.synthetic": _null("data.root"),
    "trainer.gradient_clip_algorithm": _both("trainer.gradient_clip_val"),
}


def no_effect(settings: Settings) -> list[str]:
    """Returns a line for each flag that was given and changes nothing, with the setting that decides so."""
    now = dict(flat(settings.values))
    reasons = {key: why for key, used in _USED_WITH.items() if key in settings.given and (why := used(now))}
    return [
        f"note    --{key} {_text(now[key])} changes nothing: {why}"
        for key, why in reasons.items()
        if now[key] != settings.defaults.get(key)
    ]


def _text(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
