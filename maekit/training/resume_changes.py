"""Which settings and data may change when a run resumes, and which changes are refused."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maekit.base.checkpoint_card import Card, read_card
from maekit.base.identity import DataIdentity
from maekit.errors import UserError
from maekit.recipes.recipe import Values, flat
from maekit.recipes.settings import Settings
from maekit.runs.folder import shown
from maekit.runs.read import Run
from maekit.system.terminal import say

Changes = dict[str, tuple[object, object]]


@dataclass(frozen=True)
class Resume:
    """A checkpoint to resume from, and what the resumed run changes on purpose.

    Attributes:
        path: the checkpoint.
        step: optimizer steps done in it.
        plan: devices, device batch and accumulation of the run that saved it; None in one of an earlier version.
        changes: settings that differ, as (then, now).
        may_differ: options of the optimizer's groups that differ on purpose.
        new_data: for each split of the data that differs, how it differs.
        new_evaluation: why values measured before cannot be compared with those after; empty where they can.
        lines: all of the above as lines for the terminal.
    """

    path: Path
    step: int
    plan: Mapping[str, int] | None
    changes: Changes
    may_differ: frozenset[str]
    new_data: Mapping[str, str]
    new_evaluation: str
    lines: tuple[str, ...]


def resume_of(path: Path, card: Card, settings: Settings, identity: DataIdentity, *, new_data: bool) -> Resume:
    """Returns what a resume changes, if it may; restores in the settings what the checkpoint decides.

    Args:
        path: the checkpoint.
        card: its card.
        settings: of the run that resumes; values that it does not use become those of the checkpoint.
        identity: of its data.
        new_data: whether other data were confirmed.

    Raises:
        UserError: a setting or the data differ that may not.
    """
    changes = changes_of(card.config, settings.values)
    kept = keep_unused(changes, settings.values)
    differs = data_changes(card.data, identity.plain())
    data = require_same_data(differs, path, str(identity.folder), confirmed=new_data)
    allowed = may_differ(changes, settings.given)
    another = new_evaluation(changes, differs)
    afresh = (
        [f"best    best.ckpt is chosen afresh: {another}, so values before and after do not compare"] if another else []
    )
    lines = [f"resume  {shown(path)} at step {card.step}", *change_lines(changes), *kept, *data, *afresh]
    return Resume(path, card.step, card.plan, changes, allowed, differs, another, tuple(lines))


# setting -> the option of an optimizer's parameter groups that it decides
_OPTIONS = {
    "optim.base_lr": "peak_lr",
    "optim.lr": "peak_lr",
    "optim.layer_decay": "peak_lr",
    "optim.weight_decay": "weight_decay",
    "optim.betas": "betas",
    "optim.momentum": "momentum",
    "optim.trust_coefficient": "trust_coefficient",
}
# These cannot change: the optimizer's state would not fit, or steps or class numbers would have another meaning.
_FIXED = (
    "optim.optimizer", "data.total_batch_size", "data.reduce_zero_label", "data.label_values", "model.tuned_blocks",
    "model.freeze", "model.lora_rank", "model.lora_alpha", "model.lora_targets",
)  # fmt: skip
# With another value an evaluation gives another number for the same weights.
_EVALUATION = (
    "trainer.limit_val_batches", "data.eval_crop_fraction", "data.image_size", "data.crop_size", "data.resize",
    "data.mean", "data.std", "data.white", "data.orientation", "data.reduced_decode", "data.probe_root",
    "data.probe_image_size", "model.window_stride", "model.scales", "model.flip", "model.mask_ratio", "model.masking",
    "model.target", "model.probe_images", "model.probe_neighbours",
)  # fmt: skip
_UNUSED = ("model.weights", "model.new_head")  # a resumed run has its weights from the checkpoint
_PLACES = ("run.folder", "run.name", "run.extend", "run.new_data")


def changes_of(then: Mapping[str, object], now: Mapping[str, object]) -> Changes:
    """Returns each setting that differs, as (then, now), except the run's place and flags that count once.

    Args:
        then: sections of settings, as the checkpoint has them.
        now: sections of the run that resumes.
    """
    before, today = dict(flat(then)), dict(flat(now))
    keys = (key for key in today if key in before and key not in _PLACES)
    return {key: (before[key], today[key]) for key in keys if before[key] != today[key]}


def may_differ(changes: Changes, given: Collection[str]) -> frozenset[str]:
    """Returns the options of the optimizer's groups that a flag changes on purpose.

    Args:
        changes: what differs from the checkpoint.
        given: settings that were given as flags.

    Raises:
        UserError: an option differs without a flag, as after an edit of a recipe, or a setting that cannot change does.
    """
    for key, (then, now) in changes.items():
        if key in _FIXED:
            raise UserError(
                f"got {key} {now}, expected {then} of the checkpoint, which a resumed run cannot change; leave it, or "
                "start a new run from its weights with --model.weights FILE"
            )
        if key in _OPTIONS and key not in given:
            raise UserError(
                f"got {key} {now} from the recipe, expected {then} of the checkpoint; give --{key} {_flag(now)} to "
                f"change it, or --{key} {_flag(then)} to keep it"
            )
    return frozenset(_OPTIONS[key] for key in changes if key in _OPTIONS)


def require_same_monitor(folder: Path, metric: str) -> None:
    """Refuses to judge a run by another metric than before: the values of its best checkpoints are of that one.

    Args:
        folder: the run's; what it does not record is not checked.
        metric: by which this session would judge, such as `top1`.

    Raises:
        UserError: the run was judged by another one.
    """
    recorded = Run(folder).monitor
    if recorded is not None and recorded[0] != metric:
        raise UserError(
            f"got {metric} as the metric that chooses best.ckpt, expected {recorded[0]}, by which {shown(folder)} has "
            "chosen so far; leave it, or start a new run from its weights with --model.weights FILE"
        )


def new_evaluation(changes: Changes, new_data: Mapping[str, str]) -> str:
    """Returns what makes the evaluations of a resumed run others than those before it; empty where they are the same.

    Args:
        changes: settings that differ from the checkpoint.
        new_data: of `data_changes`.
    """
    if "val" in new_data:
        return "the validation images differ"
    found = [key for key in changes if _decides_evaluation(key)]
    return f"{', '.join(found)} changed" if found else ""


def say_measured_otherwise(settings: Settings, checkpoint: Path | None) -> list[str]:
    """Says by which settings a run is measured otherwise than it measured itself, unless a flag asks for it.

    Args:
        settings: of this evaluation, whose recipe may be another than the run's, or the same without its flags.
        checkpoint: of the run; None for weights that are of no run.

    Returns:
        What differs, as lines for a checkpoint that does not fit.
    """
    if checkpoint is None:
        return []
    changes = changes_of(read_card(checkpoint).config, settings.values)
    for key, (then, now) in changes.items():
        if _decides_evaluation(key) and key not in settings.given:
            say(
                f"note    measured with {key} {now} of the recipe {settings.recipe.name}, {then} in the run: add "
                f"--{key} {_flag(then)}, or give --ckpt_path without --task and --recipe, to measure as the run did"
            )
    return change_lines(changes)


def _decides_evaluation(key: str) -> bool:
    return key in _EVALUATION or key.startswith("model.mask_rcnn.")


def keep_unused(changes: Changes, values: Values) -> list[str]:
    """Restores settings that a resumed run does not use to their first values, in place; returns a line for each."""
    lines = []
    for key in _UNUSED:
        if key in changes:
            section, _, name = key.partition(".")
            then, now = changes.pop(key)
            values[section][name] = then
            lines.append(f"kept: {key} {then}, not {now}: a resumed run has its weights from its checkpoint")
    return lines


def change_lines(changes: Changes) -> list[str]:
    """Returns a line for the terminal for each changed setting."""
    return [f"changed: {key} {then} -> {now}" for key, (then, now) in changes.items()]


def plan_lines(then: Mapping[str, int] | None, now: Mapping[str, int]) -> list[str]:
    """Returns a line for the terminal if the batch is divided in another way, else nothing.

    Args:
        then: `devices`, `device_batch` and `accumulation` of the checkpoint; None in one of an earlier version.
        now: those of this run.
    """
    if then is None or dict(then) == dict(now):
        return []
    before, today = (f"{p['devices']} devices x {p['device_batch']} x {p['accumulation']}" for p in (then, now))
    return [
        f"changed: batch {before} -> {today}: the same images in each step; what a model draws for each device batch "
        "(drop path, mixup, masks, sampled proposals) differs"
    ]


def data_changes(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, str]:
    """Returns how each split of the data differs from the checkpoint's, by its name.

    Args:
        then: `DataIdentity.plain()` in the checkpoint; None in a checkpoint of an earlier version.
        now: `DataIdentity.plain()` of the present data.
    """
    found: dict[str, str] = {}
    for name, split in now["splits"].items():
        before = (then or {}).get("splits", {}).get(name, split)
        if before["images"] != split["images"]:
            found[name] = f"{split['images']:,} images, {before['images']:,} when it was saved"
        elif before["fingerprint"] != split["fingerprint"]:
            found[name] = f"as many images ({split['images']:,}), but other files or labels"
    return found


def require_same_data(differs: Mapping[str, str], path: Path, folder: str, *, confirmed: bool) -> list[str]:
    """Refuses data that differs from the checkpoint's, unless confirmed; returns lines with the differences.

    Args:
        differs: of `data_changes`.
        path: the checkpoint.
        folder: where the data is.
        confirmed: whether `--run.new_data true` was given.

    Raises:
        UserError: the data differs, with both counts.
    """
    if not differs:
        return []
    found = "; ".join(f"{name}: {text}" for name, text in differs.items())
    if confirmed:
        return [f"new data: {found}"]
    raise UserError(
        f"{folder} is not the data that {path} was trained on ({found}); restore it, or add --run.new_data true to go "
        "on with it as it is"
    )


def _flag(value: object) -> str:
    if value is None:
        return "null"
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)
