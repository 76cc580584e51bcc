"""Makes a checked definition from a command's arguments; keys, values and the length of a run are the task's own."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, Literal

from maekit.base.data import TransferData
from maekit.base.follow import follow_weights
from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.optim.batch_plan import require_batch
from maekit.optim.settings import Optimisation
from maekit.recipes.moved import moved_key
from maekit.recipes.recipe import Recipe, flat, small_batch
from maekit.recipes.settings import Settings, nearest_key, resolve
from maekit.runs.differences import is_hyper_parameter
from maekit.study.define.definition import Definition
from maekit.study.define.presets import Preset
from maekit.study.define.space import Choice, Interval, Space, grid_cells, parse_grid, parse_range, short_keys
from maekit.system.folds import all_folds
from maekit.system.hardware import on_meta
from maekit.system.plain import JSON, is_number

FOLD = "data.fold"
_RATES = ("optim.base_lr", "optim.lr")
_LENGTH = ("trainer.max_steps", "trainer.max_epochs", "data.total_batch_size")


@dataclass(frozen=True)
class Request:
    """What a command asks for, unchecked.

    Attributes:
        recipe: the stacked recipe.
        config: the user's own YAML files, absolute.
        flags: the task's flags for every run.
        grids: texts `KEY=V,V,...`.
        ranges: texts `KEY=LOW:HIGH[:log]`.
        preset: lists to vary; a grid of the same key replaces its list.
        seeds: the seeds of each cell.
        sampler: `grid`, `random` or `tpe`.
        num_cells: cells to sample; None for a grid.
        pruning: `none`, `median` or `halving`.
        reduction: halving keeps one cell in so many.
        name: the study's; None takes the preset's name, or the keys.
        folds: each cell is run on each of so many folds; None without folds.
    """

    recipe: Recipe
    config: tuple[str, ...]
    flags: tuple[str, ...]
    grids: tuple[str, ...]
    ranges: tuple[str, ...]
    preset: Preset | None
    seeds: tuple[int, ...]
    sampler: str
    num_cells: int | None
    pruning: str
    reduction: int
    name: str | None
    folds: int | None = None


def define(request: Request, module: ModuleType) -> Definition:
    """Checks every key and value against the task, counts its training images, and returns the study's definition.

    Args:
        request: the command's arguments.
        module: the task's.

    Raises:
        UserError: an unknown key, a value the task refuses, nothing to vary, or settings that exclude each other.
    """
    axes = _given_axes(request)
    settings = _resolved(request, module, ())
    settings.require_training()
    _check_keys([*axes], settings, folds=request.folds is not None)
    data, num_images = _smallest_data(request, settings, module)
    space = _checked_space(request, axes, settings, module, data.spec())
    _check_rates(space, settings)
    if request.sampler == "grid":
        grid_cells(space)
    varied = {axis.key for axis in space} | ({FOLD} if request.folds else set())
    varied |= {"model.backbone"} if "model.weights" in varied else set()  # each trial has that of its own
    fixed = {key: value for key, value in flat(settings.values) if is_hyper_parameter(key) and key not in varied}
    metric, mode = _monitor(settings, module, data.spec())
    names = [request.preset.name] if request.preset else [*short_keys(axis.key for axis in space).values()]
    names += [f"{request.folds}folds"] if request.folds else []
    definition = Definition(
        name=request.name or re.sub(r"[^A-Za-z0-9._+-]", "-", "-".join(names))[:80],
        task=request.recipe.task.given_as,
        recipe=request.recipe.name,
        config=request.config,
        flags=request.flags,
        space=space,
        seeds=request.seeds,
        sampler=request.sampler,
        num_cells=request.num_cells,
        pruning=request.pruning,
        reduction=request.reduction,
        metric=f"val/{metric}",
        mode=mode,
        max_steps=0,
        num_images=num_images,
        fixed=json.loads(json.dumps(fixed)),
        preset=request.preset.name if request.preset else None,
        folds=request.folds,
    )
    return replace(definition, max_steps=_longest(definition, settings))


def _resolved(request: Request, module: ModuleType, flags: Sequence[str]) -> Settings:
    """The settings with these flags too, and the backbone of their weights, as a run would have them."""
    settings = resolve(request.recipe, module, [*request.flags, *flags], training=True)
    follow_weights(settings, module.Model)
    return settings


def _smallest_data(request: Request, settings: Settings, module: ModuleType) -> tuple[TransferData, int]:
    """The data, and the number of training images; with folds every fold is read, and the smallest number counts.

    Raises:
        UserError: the task's data cannot be divided into folds, or a fold cannot be used.
    """
    values = settings.values["data"]
    if request.folds is None:
        choices: list[dict[str, Any]] = [values]
    elif FOLD in dict(flat(settings.values)):
        choices = [{**values, "fold": fold} for fold in all_folds(request.folds)]
    else:
        raise UserError(
            f"--folds: the data of {request.recipe.task.given_as} cannot be divided into folds; use --seeds"
        )
    found: list[tuple[TransferData, int]] = []
    for choice in choices:
        data: TransferData = module.Data(**choice)
        data.setup()
        found.append((data, len(data.train_dataset(0))))
    return min(found, key=lambda pair: pair[1])


def _given_axes(request: Request) -> dict[str, list[str] | Interval]:
    """Each key's values as text: the preset's keys first, with their lists replaced by grids of the same key."""
    axes: dict[str, list[str] | Interval] = {}
    given: list[tuple[str, list[str] | Interval]] = [parse_grid(text) for text in request.grids]
    given += [(interval.key, interval) for interval in map(parse_range, request.ranges)]
    for key, axis in given:
        if key in axes:
            raise UserError(
                f"--grid and --range: got {key} twice, expected each key once; put all its values in one list"
            )
        axes[key] = axis
    preset = request.preset.grid if request.preset else {}
    axes = {**{key: axes.pop(key, values) for key, values in preset.items()}, **axes}
    if not axes and not request.folds:
        ways = "--grid KEY=V,V,..., --range KEY=LOW:HIGH, --preset layer_decay or --folds 5"
        raise UserError(f"nothing to vary; add {ways}")
    return axes


def _check_keys(keys: Sequence[str], settings: Settings, *, folds: bool) -> None:
    """Refuses keys that do not exist, that the study sets itself, or that were given as flags too."""
    known, task = dict(flat(settings.values)), settings.recipe.task.given_as
    for key in keys:
        if key == "run.seed":
            raise UserError("got run.seed as a key of the study, expected --seeds 3 or --seeds 0,1,2")
        if key == FOLD:
            raise UserError(f"got {FOLD} as a key of the study, expected --folds 5: a cell's mean is over its folds")
        if key not in known:
            hint = moved_key(key) or nearest_key(key, list(known))
            raise UserError(f"unknown key '{key}' to vary{hint} (all keys: maekit fit --task {task} --help)")
        if key.startswith("run."):
            raise UserError(
                f"got {key} as a key of the study, expected one of model, optim, data or trainer; give it as --{key}"
            )
        if key in ("model.monitor", "model.metrics"):
            raise UserError(f"got {key} as a key of the study, expected one metric for all runs; give it as --{key}")
        if key in settings.given:
            raise UserError(f"got {key} both as a flag and as a key of the study; leave out --{key}")
    own = {"run.seed": "--seeds", **({FOLD: "--folds alone"} if folds else {})}
    for key in (*own, "run.folder", "run.name", "run.stop_at_step"):
        if key in settings.given:
            use = own.get(key, "--output DIR")
            raise UserError(f"got --{key}, which a study sets for each run itself; use {use}")


def _checked_space(
    request: Request,
    given: Mapping[str, list[str] | Interval],
    settings: Settings,
    module: ModuleType,
    spec: DataSpec,
) -> Space:
    """The space with its values as the task parses them; each value is tried with the other keys at their first."""
    texts = {key: [str(v.low), str(v.high)] if isinstance(v, Interval) else v for key, v in given.items()}
    without = _refusal(settings, module, spec)
    axes: list[Choice | Interval] = []
    for key, axis in given.items():
        others = [f"--{other}={values[0]}" for other, values in texts.items() if other != key]
        values: list[Any] = []
        for text in texts[key]:
            tried = _resolved(request, module, [*others, f"--{key}={text}"])
            refusal = _refusal(tried, module, spec)
            if refusal:
                raise UserError(refusal if refusal == without else f"{key}={text} to vary: {refusal}")
            values.append(json.loads(json.dumps(dict(flat(tried.values))[key])))
        if isinstance(axis, Interval):
            axes.append(Interval(key, values[0], values[1], axis.log))
            continue
        for text, value in zip(axis, values, strict=True):
            if values.count(value) > 1:
                raise UserError(f"--grid {key}: got {text} twice, expected each value once")
        axes.append(Choice(key, tuple(values)))
    return tuple(axes)


def _refusal(settings: Settings, module: ModuleType, spec: DataSpec) -> str | None:
    """The error of the task's data or model about settings, in one line; None without one."""
    try:
        module.Data(**settings.values["data"])  # reads no files
        with on_meta():  # shapes alone: no memory, no weights
            module.Model.build(spec, settings.values["model"])
            Optimisation(**settings.values["optim"])
    except UserError as error:
        # _check_rates has a better message for two learning rates at once
        return None if all(rate in str(error) for rate in _RATES) else str(error)
    except Exception:  # a task that cannot be built on the meta device is checked by its runs
        return None
    return None


def _monitor(settings: Settings, module: ModuleType, spec: DataSpec) -> tuple[str, Literal["max", "min"]]:
    """The metric that the runs are compared by, which settings may choose; that of the class if it cannot be built."""
    found: tuple[str, Literal["max", "min"]] = module.Model.monitor
    with suppress(Exception), on_meta():
        found = module.Model.build(spec, settings.values["model"]).monitor
    return found


def _check_rates(space: Space, settings: Settings) -> None:
    """Refuses to vary lr or base_lr if the other one is varied or set too."""
    varied = [axis.key for axis in space if axis.key in _RATES]
    if len(varied) > 1:
        raise UserError("got both optim.base_lr (per 256 images) and optim.lr (absolute) to vary, expected one of them")
    for key in varied:
        other = next(rate for rate in _RATES if rate != key)
        value = dict(flat(settings.values)).get(other)
        if value is not None:
            raise UserError(f"got {key} to vary, but {other} is {value:g} here; vary {other}, or add --{other} null")


def _longest(definition: Definition, settings: Settings) -> int:
    """Optimizer steps of the longest run.

    Raises:
        UserError: fewer training images than the batch, no end, or pruning of runs that differ in length.
    """
    choices = [axis for axis in definition.space if isinstance(axis, Choice)]
    batches: list[JSON] = [settings.values["data"]["total_batch_size"]]
    batches += [value for axis in choices if axis.key == "data.total_batch_size" for value in axis.values]
    largest = max(int(size) for size in batches if is_number(size))
    base_lr = dict(flat(settings.values)).get("optim.base_lr")
    require_batch(definition.num_images, largest, base_lr, partial(small_batch, settings.recipe))
    cells = grid_cells(choices) + [{axis.key: axis.high} for axis in definition.space if isinstance(axis, Interval)]
    longest = max(map(definition.steps_of, cells))
    if longest < 1:
        raise UserError("the run has no end; give --trainer.max_epochs or --trainer.max_steps")
    patience = settings.values["run"]["patience"]
    if definition.pruning == "halving" and patience is not None:
        raise UserError(
            f"--pruner halving: got run.patience {patience}, expected null, since runs are compared at the same step; "
            "add --run.patience null"
        )
    varied = [axis.key for axis in definition.space if axis.key in _LENGTH]
    if definition.pruning != "none" and varied:
        raise UserError(
            f"--pruner {definition.pruning}: got {varied[0]} to vary, expected runs of one length, since they are "
            "compared at the same step; use --pruner none"
        )
    return longest
