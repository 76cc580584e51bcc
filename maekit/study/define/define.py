"""From a command's words to a checked definition: keys, values and the length of a run are asked of the task itself."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch

from maekit.api import refuse_evaluation_only
from maekit.base.data import TransferData
from maekit.base.spec import DataSpec
from maekit.errors import UserError, nearest
from maekit.optim.batch_plan import require_batch
from maekit.recipes.recipe import Recipe, flat
from maekit.recipes.settings import Settings, resolve
from maekit.runs.differences import is_hyper_parameter
from maekit.study.define.definition import Definition
from maekit.study.define.presets import Preset
from maekit.study.define.space import Choice, Interval, Space, grid_cells, parse_grid, parse_range, short_keys

_BOTH_RATES = ("model.base_lr", "model.lr")
_LENGTH = ("trainer.max_steps", "trainer.max_epochs", "data.total_batch_size")


@dataclass(frozen=True)
class Request:
    """What a command asks for, unchecked.

    Attributes:
        recipe: the stacked recipe.
        config: the user's own YAML files, absolute.
        flags: the task's flags that every run is given.
        grids: texts `KEY=V,V,...`.
        ranges: texts `KEY=LOW:HIGH[:log]`.
        preset: lists to vary, which a grid of the same key takes the place of.
        seeds: each cell's.
        sampler: `grid`, `random` or `tpe`.
        num_cells: cells to draw; None for a grid.
        pruning: `none`, `median` or `halving`.
        reduction: halving keeps one cell in so many.
        name: the study's; None makes one of the preset or the keys.
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


def define(request: Request, module: ModuleType) -> Definition:
    """Checks every key and value against the task, reads its data's size, and returns the study's definition.

    Raises:
        UserError: an unknown key, a value the task refuses, nothing to vary, or settings that exclude each other.
    """
    texts = _texts(request)
    settings = resolve(request.recipe, module, request.flags, training=True)
    refuse_evaluation_only(settings, module.Model)
    _check_keys([*texts], settings)
    data: TransferData = module.Data(**settings.values["data"])
    data.setup()
    space = _checked_space(request, texts, settings, module, data.spec())
    _check_rates(space, settings)
    if request.sampler == "grid":
        grid_cells(space)
    images = len(data.train_dataset(0))
    varied = {axis.key for axis in space}
    fixed = {key: value for key, value in flat(settings.values) if is_hyper_parameter(key) and key not in varied}
    metric, mode = module.Model.monitor
    definition = Definition(
        name=request.name or _name(request.preset, space),
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
        num_images=images,
        fixed=_plain(fixed),
        preset=request.preset.name if request.preset else None,
    )
    return replace(definition, max_steps=_longest(definition, settings))


def _texts(request: Request) -> dict[str, list[str] | Interval]:
    """Each key's values as they were written, a grid's own before its preset's."""
    found: dict[str, list[str] | Interval] = {}
    for text in request.grids:
        key, values = parse_grid(text)
        _once(key, found)
        found[key] = values
    for text in request.ranges:
        interval = parse_range(text)
        _once(interval.key, found)
        found[interval.key] = interval
    preset = request.preset.grid if request.preset else {}
    found = {**{key: found.pop(key, values) for key, values in preset.items()}, **found}
    if not found:
        raise UserError("nothing to vary; add --grid KEY=V,V,..., --range KEY=LOW:HIGH or --preset layer_decay")
    return found


def _once(key: str, found: dict[str, list[str] | Interval]) -> None:
    if key in found:
        raise UserError(f"--grid and --range: got {key} twice, expected each key once; put all its values in one list")


def _check_keys(keys: Sequence[str], settings: Settings) -> None:
    """Refuses keys that do not exist, that the study sets itself, or that were given as flags too."""
    known, task = dict(flat(settings.values)), settings.recipe.task.given_as
    for key in keys:
        if key == "run.seed":
            raise UserError("got run.seed as a key of the study, expected --seeds 3 or --seeds 0,1,2")
        if key not in known:
            hint = nearest(key, known)
            raise UserError(f"unknown key '{key}' to vary{hint} (all keys: maekit fit --task {task} --help)")
        if key.startswith("run."):
            raise UserError(
                f"got {key} as a key of the study, expected one of model, data or trainer; give it as --{key}"
            )
        if key in settings.given:
            raise UserError(f"got {key} both as a flag and as a key of the study; leave out --{key}")
    for key in ("run.seed", "run.folder", "run.name", "run.stop_at_step"):
        if key in settings.given:
            use = "--seeds" if key == "run.seed" else "--output DIR"
            raise UserError(f"got --{key}, which a study sets for each run itself; use {use}")


def _checked_space(
    request: Request, texts: dict[str, list[str] | Interval], settings: Settings, module: ModuleType, spec: DataSpec
) -> Space:
    """The space with its values as the task reads them; each is tried once, the other keys at their first value."""
    ends = {key: [str(v.low), str(v.high)] if isinstance(v, Interval) else v for key, v in texts.items()}
    before = _refusal(settings, module, spec)
    axes: list[Choice | Interval] = []
    for key, words in ends.items():
        others = [f"--{other}={values[0]}" for other, values in ends.items() if other != key]
        values = []
        for word in words:
            tried = resolve(request.recipe, module, [*request.flags, *others, f"--{key}={word}"], training=True)
            refusal = _refusal(tried, module, spec)
            if refusal:
                raise UserError(refusal if refusal == before else f"{key}={word} to vary: {refusal}")
            values.append(_plain(dict(flat(tried.values))[key]))
        given = texts[key]
        axes.append(
            Interval(key, values[0], values[1], given.log)
            if isinstance(given, Interval)
            else _choice(key, words, values)
        )
    return tuple(axes)


def _choice(key: str, words: list[str], values: list[Any]) -> Choice:
    for word, value in zip(words, values, strict=True):
        if values.count(value) > 1:
            raise UserError(f"--grid {key}: got {word} twice, expected each value once")
    return Choice(key, tuple(values))


def _refusal(settings: Settings, module: ModuleType, spec: DataSpec) -> str | None:
    """What the task's data or model say against settings, in one line."""
    try:
        module.Data(**settings.values["data"])  # reads nothing
        with torch.device("meta"):  # shapes alone: no memory, no weights
            module.Model(spec, **settings.values["model"])
    except UserError as error:
        return None if all(rate in str(error) for rate in _BOTH_RATES) else str(error)  # _check_rates says those better
    except Exception:  # a task that cannot be built this way is built by its runs
        return None
    return None


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _check_rates(space: Space, settings: Settings) -> None:
    """Refuses a study of one way to say the learning rate where the other is set too."""
    varied = [axis.key for axis in space if axis.key in _BOTH_RATES]
    if len(varied) > 1:
        raise UserError("got both model.base_lr (per 256 images) and model.lr (absolute) to vary, expected one of them")
    for key in varied:
        other = next(rate for rate in _BOTH_RATES if rate != key)
        value = settings.values["model"].get(other.removeprefix("model."))
        if value is not None:
            raise UserError(f"got {key} to vary, but {other} is {value:g} here; vary {other}, or add --{other} null")


def _longest(definition: Definition, settings: Settings) -> int:
    """Optimizer steps of a full run, of the longest cell where the cells differ."""
    values = {**definition.fixed, **dict(flat(settings.values))}
    choices = [axis for axis in definition.space if isinstance(axis, Choice)]
    largest = max([values["data.total_batch_size"], *_values_of("data.total_batch_size", choices)])
    require_batch(definition.num_images, largest, values.get("model.base_lr"))
    lengths = {definition.steps_of(cell) for cell in grid_cells(choices)} if choices else {definition.steps_of({})}
    lengths |= {definition.steps_of({axis.key: axis.high}) for axis in definition.space if isinstance(axis, Interval)}
    if max(lengths) < 1:
        raise UserError("the run has no end; give --trainer.max_epochs or --trainer.max_steps")
    varied = [axis.key for axis in definition.space if axis.key in _LENGTH]
    if definition.pruning != "none" and varied:
        raise UserError(
            f"--pruner {definition.pruning}: got {varied[0]} to vary, expected runs of one length, since they are "
            "compared at the same step; use --pruner none"
        )
    return max(lengths)


def _values_of(key: str, choices: list[Choice]) -> list[Any]:
    return [value for axis in choices if axis.key == key for value in axis.values]


def _name(preset: Preset | None, space: Space) -> str:
    words = [preset.name] if preset else short_keys(axis.key for axis in space).values()
    return re.sub(r"[^A-Za-z0-9._+-]", "-", "-".join(words))[:80]
