"""The sections of a model card on the training: data, recipe, hardware and time, results."""

from collections.abc import Iterator, Mapping
from typing import Any

from maekit.errors import UserError
from maekit.export.card.words import plain
from maekit.recipes.recipe import flat, load_recipe
from maekit.recipes.tasks import find_task
from maekit.runs.record import Record
from maekit.system.plain import table
from maekit.weights.describe.facts import Facts
from maekit.weights.read.metadata import mask_ratio, normalisation

NOT_RECORDED = "Not recorded."
_NUMBERS = {
    "total batch": "data.total_batch_size",
    "epochs": "trainer.max_epochs",
    "steps at most": "trainer.max_steps",
    "base lr": "model.base_lr",
    "lr": "model.lr",
    "layer decay": "model.layer_decay",
    "weight decay": "model.weight_decay",
    "schedule": "model.schedule",
    "warm-up epochs": "model.warmup_epochs",
    "drop path": "model.drop_path",
    "mask ratio": "model.mask_ratio",
    "masking": "model.masking",
    "target": "model.target",
    "precision": "trainer.precision",
    "seed": "run.seed",
}
_SAID_ELSEWHERE = ("data.root", "model.weights", "run.folder")


def training_sections(
    said: Mapping[str, Any], meta: Mapping[str, object], record: Record, facts: Facts
) -> Iterator[tuple[str, str]]:
    """Gives titles and texts; what no file says is said to be not recorded.

    Args:
        said: a run's card.
        meta: what else its file says.
        record: what the run wrote beside it.
        facts: what is in the file.
    """
    config = dict(flat(table(said.get("config"))))
    yield "Data", _bullets(_data(said, meta, record, facts, config))
    yield "Training", _bullets(_recipe(said, meta, config))
    yield "Hardware, time and energy", _bullets(_hardware(record, config))
    yield "Results", _results(said, record)


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or NOT_RECORDED


def _data(
    said: Mapping[str, Any], meta: Mapping[str, object], record: Record, facts: Facts, config: Mapping[str, Any]
) -> Iterator[str]:
    root, made = config.get("data.root"), config.get("data.synthetic")
    if isinstance(root, str):
        yield f"Folder: `{plain(root)}`"
    elif made:
        yield f"Made data: {plain(made)}"
    others = {key.removeprefix("data."): value for key, value in config.items() if key.endswith("_root")}
    yield from (f"Also used, as `{key}`: `{plain(value)}`" for key, value in others.items() if isinstance(value, str))
    batch = config.get("data.total_batch_size")
    if record.steps_per_epoch and type(batch) is int:
        steps = record.steps_per_epoch
        yield f"An epoch: {steps * batch:,} images ({steps:,} steps of {batch:,}; less than one batch was left out)"
    elif said:
        yield "Number of images: not recorded"
    if facts.kind != "pretraining" and (names := said.get("class_names")):
        shown = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
        yield f"Classes: {len(names):,} ({shown})"
    if numbers := normalisation(meta):
        fraction = table(said.get("input")).get("crop_fraction")
        crop = f", centre crop of {plain(fraction)} of the short side" if isinstance(fraction, (int, float)) else ""
        size = "" if facts.image_size is None else "{}x{} px".format(*facts.image_size) + ", "
        yield f"Input in evaluation: {size}mean {plain(numbers[0])}, std {plain(numbers[1])}{crop}, bicubic"


def _recipe(said: Mapping[str, Any], meta: Mapping[str, object], config: Mapping[str, Any]) -> Iterator[str]:
    if not said:
        return
    for word, key in _NUMBERS.items():
        if (value := config.get(key)) is not None and value != -1:
            yield f"{word}: {plain(value)}"
    if "model.mask_ratio" not in config and (ratio := mask_ratio(meta)) is not None:
        yield f"mask ratio: {ratio:g}"
    yield from (f"{word}: {said[word]}" for word in ("seed", "commit") if isinstance(said.get(word), (str, int)))
    if config:
        yield _differences(said, config)


def _differences(said: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Where the run's configuration is not the recipe file's, as that is installed now."""
    try:
        recipe = load_recipe(find_task(str(said.get("task"))), str(said.get("recipe")))
    except UserError:
        return "differences from the recipe: not known, its file is not here"
    numbers = {key: value for key, value in flat(recipe.values) if key not in _SAID_ELSEWHERE}
    changed = [key for key, value in numbers.items() if key in config and plain(config[key]) != plain(value)]
    lines = [f"{key} {plain(config[key])} (recipe: {plain(numbers[key])})" for key in changed]
    return f"differences from the recipe `{recipe.name}` as this maekit has it: {'; '.join(lines) or 'none'}"


def _hardware(record: Record, config: Mapping[str, Any]) -> Iterator[str]:
    devices, hours = record.environment.get("devices"), record.hours()
    yield f"Devices: {devices if isinstance(devices, str) else 'not recorded'}"
    batch = config.get("data.total_batch_size")
    resumed = record.resumed(batch if type(batch) is int else None)
    part = " since the run was last resumed; the time before is not recorded" if resumed else ""
    yield f"Time: {'not recorded' if hours is None else _hours(hours)}{part if hours is not None else ''}"
    if isinstance(speed := record.metrics.get("images_per_second"), (int, float)):
        yield f"Speed: {speed:g} images/s"
    if isinstance(memory := record.metrics.get("peak_memory_gib"), (int, float)):
        yield f"Peak memory: {memory:g} GiB a device"
    versions = table(record.environment.get("versions"))
    if found := [f"{name} {version}" for name, version in versions.items() if isinstance(version, str)]:
        yield f"Software: {', '.join(found)}"
    yield "Energy: not measured, and no power draw was recorded from which it could be estimated"


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _results(said: Mapping[str, Any], record: Record) -> str:
    shipped = {str(name): value for name, value in table(said.get("results")).items()}
    values, best = record.values(), record.best()
    if not values and not best:
        lines = [f"- {name}: {plain(value)}" for name, value in shipped.items()]
        return "\n".join(["Measured when the weights were made:", "", *lines]) if lines else NOT_RECORDED
    step, ended = said.get("step"), record.metrics.get("step")
    lines = [f"Measured by the run on its own validation data. These weights are those of step {step}."]
    if (status := record.metrics.get("status")) not in (None, "finished"):
        lines.append(f"The run did not finish: its record says `{status}`.")
    if best:
        lines.append(f"Best: {best[0]} {best[1]:.6g} at step {best[2]}.")
    if values:
        lines += [f"Last, at step {ended}:\n\n| metric | value |\n|---|---|"]
        lines[-1] += "".join(f"\n| {name} | {value:.6g} |" for name, value in values.items())
    return "\n\n".join(lines)
