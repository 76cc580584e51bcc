"""Which cell a run belongs to, and why a run fills none. Only what a run's folder records counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from maekit.errors import UserError
from maekit.paper.origin import BACKBONE, is_of_row, is_same_size, origin, pretraining_of
from maekit.paper.tables import Cell
from maekit.recipes.recipe import flat, load_recipe
from maekit.recipes.tasks import find_task
from maekit.runs.data import is_made, recorded_data
from maekit.runs.differences import Difference, differences, is_hyper_parameter, stands_for_recipe
from maekit.runs.files import PER_CLASS, read_mapping
from maekit.runs.read import Run, read_run
from maekit.system.plain import JSON, finite_number, table


@dataclass(frozen=True)
class Sample:
    """A run's number in a cell.

    Attributes:
        run: the run.
        value: the metric, in the table's unit.
        key: runs of one key count once: the seed of a training, the weights of an evaluation.
        differs: the hyper-parameters in which it differs from its recipe.
        origin: the pattern of the evaluated weights, or the weights of a cell that takes any of a pre-training; runs of
            different ones are not averaged.
    """

    run: Run
    value: float
    key: str
    differs: tuple[Difference, ...]
    origin: str


def why_not_here(run: Run, cells: Sequence[Cell]) -> str | None:
    """Returns why a run belongs to none of the cells by its task, recipe and data; None where it belongs to one."""
    of_task = [cell for cell in cells if cell.ours.task == run.task]
    if not of_task:
        return f"no cell is of task {run.task or '(unsaid)'}"
    of_recipe = [cell for cell in of_task if run.recipe in cell.ours.recipes]
    if not of_recipe:
        toy = ", a toy and not the paper's data" if run.recipe == "smoke" else ""
        return f"no cell is of recipe {run.recipe or '(unsaid)'}{toy}"
    if not run.config:
        return f"{_problem(run, 'config.yaml')}, so its data and hyper-parameters are not known"
    if any(is_of(run, cell) for cell in of_recipe):
        return None
    found = [cell for cell in of_recipe if _has(run, cell)]
    of_training = [cell for cell in found if not cell.ours.evaluation]
    if run.status != "validated" and of_training and not any(is_of_row(run, cell) for cell in of_training):
        return f"no cell of recipe {run.recipe} is of weights pre-trained as {pretraining_of(run)}"
    if found:
        return f"no cell is of an evaluation of {_word(run.flat_config.get('model.weights'))}"
    keys = sorted({key for cell in of_recipe for key in cell.ours.when})
    return "no cell is of " + ", ".join(f"{key} {_word(run.flat_config.get(key))}" for key in keys)


def is_of(run: Run, cell: Cell) -> bool:
    """Whether a run is of a cell's task, recipe and data, finished or not.

    An evaluation of weights belongs only to a cell that asks for evaluations of these weights.
    """
    if run.task != cell.ours.task or run.recipe not in cell.ours.recipes or not _has(run, cell):
        return False
    if not cell.ours.evaluation:
        return run.status != "validated" and is_of_row(run, cell)
    return run.status in ("validated", "unfinished") and origin(run, cell) is not None


def refusal(run: Run, cell: Cell, which: str) -> str | None:
    """Returns why a run of a cell must not fill it; None where it may."""
    ours, config = cell.ours, run.flat_config
    if is_made(config):
        return f"made data (data.synthetic {config['data.synthetic']}), not the paper's"
    if run.fold is not None:
        return f"validated on fold {run.fold} of its images, not on the published validation images"
    wanted = "validated" if ours.evaluation else "finished"
    if run.status != wanted:
        return _unlike(run, wanted)
    steps, total = run.number("step"), run.total_steps
    if not ours.evaluation and steps is not None and total is not None and steps < total:
        early = " early (run.patience)" if run.early_stop is not None else ""
        return f"it stopped{early} at step {steps:.0f} of {total}"
    if config.get("trainer.limit_val_batches") not in (None, 1.0):
        return f"measured on a part of the images (trainer.limit_val_batches {config['trainer.limit_val_batches']})"
    return _cut_config(run) or _other_data(run, cell) or _no_value(run, cell, which)


def sample(run: Run, cell: Cell, which: str) -> Sample:
    """A run's number in a cell that it may fill."""
    value = value_of(run, cell, which)
    assert value is not None
    weights = str(run.flat_config.get("model.weights"))
    key = weights if cell.ours.evaluation else str(run.seed if run.seed is not None else run.folder)
    of = (origin(run, cell) or weights) if cell.ours.evaluation or not cell.ours.weights else ""
    return Sample(run, value, key, cell_differences(run, cell), of)


def value_of(run: Run, cell: Cell, which: str) -> float | None:
    """A run's metric at its end, or with `best` that of best.ckpt; None where metrics.json has none."""
    if which == "best" and not cell.ours.evaluation:
        return run.best.value if run.best.metric == cell.ours.metric else None
    return run.val.get(cell.ours.metric)


def cell_differences(run: Run, cell: Cell) -> tuple[Difference, ...]:
    """The hyper-parameters in which a run differs from the recipe, as it was when the run began or as it is now.

    The keys by which the cell is defined (`when`) are left out; other weights than the cell's are a difference. In a
    row of another pre-training the backbone follows from the weights, so only another size is one.
    """
    config = run.flat_config
    found = {item.key: item for item in differences(run)}
    for key, value in _recipe_values(run.task, run.recipe).items():
        now = Difference(key, value, config.get(key))
        settled = value == "auto" and stands_for_recipe(run, now)
        if is_hyper_parameter(key) and key in config and config[key] != value and not settled:
            found[key] = now
    found.pop("model.weights", None)
    if cell.ours.comparison and BACKBONE in found and is_same_size(run, found[BACKBONE].recipe):
        del found[BACKBONE]
    if cell.ours.weights and origin(run, cell) is None:
        found["model.weights"] = Difference("model.weights", cell.ours.start, config.get("model.weights"))
    trained = _differences_of_training(run) if cell.ours.evaluation else []
    return (*(found[key] for key in sorted(found) if key not in cell.ours.when), *trained)


def num_classes(run: Run) -> int | None:
    """How many classes a run's data have, as its `classes.txt` says; None where there is none."""
    return None if run.class_names is None else len(run.class_names)


@cache
def _recipe_values(task: str, recipe: str) -> dict[str, JSON]:
    try:
        return dict(flat(load_recipe(find_task(task), recipe).values))
    except UserError:
        return {}


def _differences_of_training(run: Run) -> list[Difference]:
    """In what the training of an evaluated checkpoint differed from its recipe, if its run's folder still exists."""
    weights = Path(str(run.flat_config.get("model.weights")))
    if weights.suffix != ".ckpt":
        return []
    try:
        trained = read_run((Path(str(run.environment.get("folder", ""))) / weights).parent)
    except UserError:
        return []
    unfinished = (
        [] if trained.status == "finished" else [Difference("status of its training", "finished", trained.status)]
    )
    return unfinished + [Difference(f"{key} of its training", *values) for key, *values in differences(trained)]


def _has(run: Run, cell: Cell) -> bool:
    """Whether a run's configuration has the cell's values.

    A key under `data` that is null in the run matches if the number of its classes is the cell's.
    """
    config, ours = run.flat_config, cell.ours
    for key, wanted in ours.when.items():
        unsaid = key.startswith("data.") and config.get(key) is None and num_classes(run) == ours.classes
        if key not in config or (config[key] != wanted and not unsaid):
            return False
    return bool(config)


def _cut_config(run: Run) -> str | None:
    """Says so if keys of the recipe are missing: a file cut between two lines is still valid YAML."""
    keys = run.recipe_values or _recipe_values(run.task, run.recipe)
    lacking = next((key for key in (*keys, "run.seed") if key not in run.flat_config), None)
    return None if lacking is None else f"config.yaml lacks {lacking}, so it is cut off or damaged"


def _unlike(run: Run, wanted: str) -> str:
    if run.status in ("paused", "stopped"):
        return f"{run.status} at step {run.number('step') or 0:.0f}"
    if run.status == "unfinished":
        return f"unfinished: {_problem(run, 'metrics.json')}"
    return f"{run.status}, but the cell is of {'evaluations' if wanted == 'validated' else 'trainings'}"


def _problem(run: Run, file: str) -> str:
    return next((line for line in run.problems if line.startswith(file)), f"{file} does not say it")


def _other_data(run: Run, cell: Cell) -> str | None:
    ours, found = cell.ours, recorded_data(run)
    if found is not None:
        for split, wanted in ours.images.items():
            if found.images.get(split) != wanted:
                got = found.images.get(split, 0)
                return f"not the paper's data: {found.folder} has {got:,} {split} images, the paper's {wanted:,}"
        if ours.classes is not None and len(found.classes) not in (0, ours.classes) and not ours.evaluation:
            return f"its data have {len(found.classes):,} classes, the paper's {ours.classes:,}"
    if ours.classes is not None:
        classes = num_classes(run)
        if classes is None and not ours.evaluation:
            return "classes.txt is missing, so its data are not known"
        if classes not in (None, ours.classes):
            return f"its data have {classes:,} classes, the paper's {ours.classes:,}"
    images = _num_images(run) if ours.val_images is not None else None
    if images is not None and images != ours.val_images:
        return f"measured on {images:,} images, the paper's are {ours.val_images:,}"
    return None


def _num_images(run: Run) -> int | None:
    """How many images a run was measured on, summed over the classes of per_class.json; None if not recorded."""
    classes = read_mapping(run.folder / PER_CLASS).values.get("classes")
    images = [finite_number(table(entry).get("images")) for entry in classes] if isinstance(classes, list) else [None]
    known = [number for number in images if number is not None]
    return int(sum(known)) if len(known) == len(images) else None


def _no_value(run: Run, cell: Cell, which: str) -> str | None:
    if value_of(run, cell, which) is not None:
        return None
    metric = cell.ours.metric
    if which == "best" and not cell.ours.evaluation:
        return f"metrics.json has no best {metric}"
    if metric in table(run.metrics.get("val")):
        return f"its {metric} is not a number"
    return f"metrics.json has no {metric}"


def _word(value: object) -> str:
    return "null" if value is None else str(value)
