"""Old names of recipe keys: their present names, and configurations of earlier versions in the present form."""

from collections.abc import Mapping

from maekit.system.plain import JSON

# The optimizer's and the schedule's settings left the section `model` for a section of their own; a test compares this
# with the fields of `optim.settings.Optimisation`, which imports torch.
OPTIM = (
    "base_lr", "lr", "layer_decay", "weight_decay", "no_weight_decay", "schedule", "min_lr", "min_lr_scaled",
    "optimizer", "betas", "momentum", "trust_coefficient", "warmup_epochs", "warmup_steps", "warmup_start", "power",
    "poly_after_warmup", "milestones", "gamma",
)  # fmt: skip

_TUNE_BACKBONE = "model.tune_backbone"


def todays_key(key: str) -> str:
    """Returns today's name of a dotted key, such as `optim.lr` for `model.lr`; that of others is the same."""
    if key == _TUNE_BACKBONE:
        return "model.freeze"
    section, _, name = key.partition(".")
    return f"optim.{name}" if section == "model" and name in OPTIM else key


def todays_values(values: Mapping[str, JSON]) -> dict[str, JSON]:
    """Returns values by dotted key with today's keys, and today's values where these have changed.

    A `tune_backbone` beside today's `freeze` is a task's own, and stays.
    """
    own = "model.freeze" in values
    return {
        key if own and key == _TUNE_BACKBONE else todays_key(key): _frozen(value)
        if key == _TUNE_BACKBONE and not own
        else value
        for key, value in values.items()
    }


def _frozen(tune_backbone: JSON) -> JSON:
    return None if tune_backbone else "backbone"


def moved_key(key: str) -> str:
    """Returns what an error says of a dotted key that has moved, such as `model.lr`; empty for any other."""
    if key == _TUNE_BACKBONE:
        return "; it is model.freeze now: `backbone` for tune_backbone false, null for true"
    today = todays_key(key)
    return "" if today == key else f"; it is {today} now: the optimizer and the schedule have a section of their own"


def in_todays_form(config: Mapping[str, JSON]) -> dict[str, JSON]:
    """Returns a run's configuration, perhaps of an earlier version, with today's sections and keys.

    Runs before the section `optim` kept its keys in `model`; those of linear probes and of pre-training had no
    layer_decay, which was 1; a linear head's model had `tune_backbone`,
    which is `freeze` now.
    """
    model = config.get("model")
    if isinstance(model, Mapping) and "tune_backbone" in model and "freeze" not in model:
        frozen = {"freeze": _frozen(model["tune_backbone"])}
        model = {**{key: value for key, value in model.items() if key != "tune_backbone"}, **frozen}
        config = {**config, "model": model}
    if "optim" in config or not isinstance(model, Mapping):
        return dict(config)
    optim = {key: model[key] for key in OPTIM if key in model}
    if not optim:
        return dict(config)
    rest = {key: value for key, value in model.items() if key not in OPTIM}
    whole = {"layer_decay": 1.0} if "schedule" in optim else {}
    return {"model": rest, "optim": {**whole, **optim}, **{k: v for k, v in config.items() if k != "model"}}
