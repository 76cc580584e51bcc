"""In which hyper-parameters a run differs from its recipe, and which keys are hyper-parameters."""

from collections.abc import Mapping
from typing import NamedTuple

from maekit.recipes.moved import todays_key
from maekit.runs.read import Run
from maekit.system.plain import JSON

# Where a run stands, on what and how it is watched: none of it changes what is learned.
_ELSEWHERE = (
    "data.root",
    "data.num_workers",
    "data.device_batch_size",
    "model.gradient_checkpointing",
    "model.metrics",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.log_every_n_steps",
    "trainer.val_check_interval",
    "trainer.check_val_every_n_epoch",
    "trainer.num_sanity_val_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.profiler",
    "trainer.sync_batchnorm",
    "trainer.precision",
)
_PLACES = ("_root", "_images", "_json", "_list", "_folder")  # ends of keys under `data` that name files


class Difference(NamedTuple):
    """A hyper-parameter in which a run differs from its recipe, or from the default where the recipe leaves it out."""

    key: str
    recipe: JSON
    run: JSON


def differences(run: Run) -> list[Difference]:
    """The hyper-parameters in which the run differs from its shipped recipe, as both were when it began.

    What the recipe leaves to a default counts where a flag set it.
    """
    recipe, defaults = run.recipe_values, _defaults(run)
    if not recipe:
        return []
    given = [key for key in run.given if key not in recipe and key in defaults]
    keys = [key for key in (*recipe, *given) if is_hyper_parameter(key) and key in run.flat_config]
    pairs = [Difference(key, {**defaults, **recipe}[key], run.flat_config[key]) for key in keys]
    return [pair for pair in pairs if pair.recipe != pair.run and not stands_for_recipe(run, pair)]


def stands_for_recipe(run: Run, pair: Difference) -> bool:
    """Whether a value is what the recipe asks for: weights where it names none, what the data decided of `auto`."""
    if pair.key == "model.weights":
        return pair.recipe is None
    flags = _flags(run)
    given = pair.key in flags or (pair.key in run.given and "ckpt_path" not in flags)
    return pair.recipe == "auto" and not given  # a checkpoint's card gives every key


def is_hyper_parameter(key: str) -> bool:
    """Whether a dotted key may change what a run learns, not merely where, on what or how watched it runs."""
    if key.startswith("run."):
        return key in ("run.patience", "run.min_delta")  # they decide how long it trains, as max_epochs does
    return key not in _ELSEWHERE and not names_data(key)


def names_data(key: str) -> bool:
    """Whether a dotted key names files of the data."""
    return key == "data.root" or (key.startswith("data.") and key.endswith(_PLACES))


def _flags(run: Run) -> set[str]:
    """The dotted keys of today that the command line sets."""
    words = (word.partition("=")[0].removeprefix("--") for word in run.command if word.startswith("--"))
    return {todays_key(word) for word in words}


def _defaults(run: Run) -> Mapping[str, JSON]:
    """The defaults of the keys that were given and are not the recipe's.

    A run of an older version does not record them, and calls whatever a checkpoint's card holds given: of it only
    what its command names counts.
    """
    if run.defaults is not None:
        return run.defaults
    flags = _flags(run)
    from_card = "ckpt_path" in flags and run.status == "validated"
    return {key: None for key in run.given if key in flags or not from_card}
