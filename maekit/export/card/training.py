"""The sections of a model card on the training: data, recipe, hardware and time, results."""

from collections.abc import Iterator, Mapping

from maekit.errors import UserError
from maekit.export.card.subject import Subject
from maekit.export.card.text import plain
from maekit.recipes.moved import in_todays_form
from maekit.recipes.recipe import flat, load_recipe
from maekit.recipes.tasks import find_task
from maekit.runs.early import early_stop_of
from maekit.runs.record import Record
from maekit.system.plain import table
from maekit.weights.read.metadata import mask_ratio, normalisation

NOT_RECORDED = "Not recorded."
_NUMBERS = {
    "total batch": "data.total_batch_size",
    "epochs": "trainer.max_epochs",
    "steps at most": "trainer.max_steps",
    "base lr": "optim.base_lr",
    "lr": "optim.lr",
    "layer decay": "optim.layer_decay",
    "weight decay": "optim.weight_decay",
    "schedule": "optim.schedule",
    "warm-up epochs": "optim.warmup_epochs",
    "drop path": "model.drop_path",
    "head": "model.head",
    "mask ratio": "model.mask_ratio",
    "masking": "model.masking",
    "target": "model.target",
    "precision": "trainer.precision",
    "seed": "run.seed",
}
_IN_OTHER_SECTIONS = ("data.root", "model.weights", "run.folder")

Config = Mapping[str, object]  # a configuration with dotted keys


def training_sections(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yields headings and texts; a section of which nothing is known is "Not recorded."."""
    config = dict(flat(in_todays_form(table(subject.run_card.get("config")))))
    sections = {
        "Data": _data(subject, config),
        "Training": _recipe(subject, config),
        "Hardware, time and energy": _hardware(subject.record, config),
    }
    for heading, lines in sections.items():
        yield heading, "\n".join(f"- {line}" for line in lines) or NOT_RECORDED
    yield "Results", _results(subject)


def _data(subject: Subject, config: Config) -> Iterator[str]:
    facts, run_card = subject.facts, subject.run_card
    root, made = config.get("data.root"), config.get("data.synthetic")
    if isinstance(root, str):
        yield f"Folder: `{plain(root)}`"
    elif made:
        yield f"Made data: {plain(made)}"
    others = {key.removeprefix("data."): value for key, value in config.items() if key.endswith("_root")}
    yield from (f"Also used, as `{key}`: `{plain(value)}`" for key, value in others.items() if isinstance(value, str))
    batch, steps = config.get("data.total_batch_size"), subject.record.steps_per_epoch
    if steps and type(batch) is int:
        yield f"An epoch: {steps * batch:,} images ({steps:,} steps of {batch:,}; less than one batch was left out)"
    elif run_card:
        yield "Number of images: not recorded"
    names = run_card.get("class_names")
    if facts.kind != "pretraining" and isinstance(names, (list, tuple)) and names:
        yield f"Classes: {len(names):,} ({', '.join(map(str, names[:10]))}{', ...' if len(names) > 10 else ''})"
    if numbers := normalisation(subject.metadata):
        fraction = table(run_card.get("input")).get("crop_fraction")
        crop = f", centre crop of {plain(fraction)} of the short side" if isinstance(fraction, (int, float)) else ""
        size = "" if facts.image_size is None else "{}x{} px".format(*facts.image_size) + ", "
        yield f"Input in evaluation: {size}mean {plain(numbers[0])}, std {plain(numbers[1])}{crop}, bicubic"


def _recipe(subject: Subject, config: Config) -> Iterator[str]:
    run_card = subject.run_card
    if not run_card:
        return
    for word, key in _NUMBERS.items():
        if (value := config.get(key)) is not None and value != -1:
            yield f"{word}: {plain(value)}"
    if "model.mask_ratio" not in config and (ratio := mask_ratio(subject.metadata)) is not None:
        yield f"mask ratio: {ratio:g}"
    yield from (f"{key}: {run_card[key]}" for key in ("seed", "commit") if isinstance(run_card.get(key), (str, int)))
    if config:
        yield _differences(run_card, config)


def _differences(run_card: Mapping[str, object], config: Config) -> str:
    """Where the run's configuration differs from the recipe as it is installed now, in one line."""
    try:
        recipe = load_recipe(find_task(str(run_card.get("task"))), str(run_card.get("recipe")))
    except UserError:
        return "differences from the recipe: not known, its file is not here"
    numbers = {key: value for key, value in flat(recipe.values) if key not in _IN_OTHER_SECTIONS}
    changed = [key for key, value in numbers.items() if key in config and plain(config[key]) != plain(value)]
    lines = [f"{key} {plain(config[key])} (recipe: {plain(numbers[key])})" for key in changed]
    return f"differences from the recipe `{recipe.name}` as this maekit has it: {'; '.join(lines) or 'none'}"


def _hardware(record: Record, config: Config) -> Iterator[str]:
    devices, hours = record.environment.get("devices"), record.hours()
    yield f"Devices: {devices if isinstance(devices, str) else 'not recorded'}"
    if hours is None:
        yield "Time: not recorded"
    else:
        batch = config.get("data.total_batch_size")
        resumed = record.resumed(batch if type(batch) is int else None)
        time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
        yield f"Time: {time}{' since the run was last resumed; the time before is not recorded' if resumed else ''}"
    if isinstance(speed := record.metrics.get("images_per_second"), (int, float)):
        yield f"Speed: {speed:g} images/s"
    if isinstance(memory := record.metrics.get("peak_memory_gib"), (int, float)):
        yield f"Peak memory: {memory:g} GiB a device"
    versions = table(record.environment.get("versions"))
    if found := [f"{name} {version}" for name, version in versions.items() if isinstance(version, str)]:
        yield f"Software: {', '.join(found)}"
    yield "Energy: not measured, and no power draw was recorded from which it could be estimated"


def _results(subject: Subject) -> str:
    record = subject.record
    values, best = record.values(), record.best()
    if not values and not best:
        lines = [f"- {name}: {plain(value)}" for name, value in table(subject.run_card.get("results")).items()]
        return "\n".join(["Measured when the weights were made:", "", *lines]) if lines else NOT_RECORDED
    step = subject.run_card.get("step")
    lines = [f"Measured by the run on its own validation data. These weights are those of step {step}."]
    if (status := record.metrics.get("status")) not in (None, "finished"):
        lines.append(f"The run did not finish: its record says `{status}`.")
    if early := early_stop_of(record.metrics):
        lines.append(f"The run ended early: {early.words()}.")
    if best:
        lines.append(f"Best: {best[0]} {best[1]:.6g} at step {best[2]}.")
    if values:
        rows = "".join(f"\n| {name} | {value:.6g} |" for name, value in values.items())
        lines.append(f"Last, at step {record.metrics.get('step')}:\n\n| metric | value |\n|---|---|{rows}")
    return "\n\n".join(lines)
