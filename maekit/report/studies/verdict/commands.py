"""Commands that go on from a study: the same one again, with more seeds, or with a wider range."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from maekit.report.words import task_name
from maekit.study.define.space import Choice, Interval, short_value
from maekit.study.saved import Study
from maekit.system.plain import JSON, is_number

Axis = Choice | Interval


def study_command(
    study: Study,
    *flags: str,
    name: str | None = None,
    axes: Mapping[str, Axis] | None = None,
    seeds: Sequence[int] | None = None,
) -> str:
    """The command of a study like this one.

    Args:
        study: the study.
        flags: flags of `maekit sweep` beside its own.
        name: the new study's name; None for this study itself.
        axes: key -> other values to vary.
        seeds: other seeds.
    """
    what = study.definition
    words = ["maekit", "sweep", "--task", what.task, "--recipe", what.recipe]
    for file in what.config:
        words += ["--config", file]
    for axis in what.space:
        words += _axis((axes or {}).get(axis.key, axis))
    chosen = what.seeds if seeds is None else tuple(seeds)
    plain = chosen == tuple(range(len(chosen)))
    words += ["--seeds", str(len(chosen)) if plain else ",".join(map(str, chosen))]
    words += [] if what.folds is None else ["--folds", str(what.folds)]
    words += [] if what.sampler == "grid" else ["--sampler", what.sampler, "--trials", str(what.num_cells)]
    if what.pruning != "none":
        words += ["--pruner", what.pruning]
        words += ["--reduction", str(what.reduction)] if what.pruning == "halving" else []
    words += ["--name", name or what.name, *_place(study, name), *flags, *what.flags]
    return shlex.join(words)


def _place(study: Study, name: str | None) -> list[str]:
    """The study's folder, or one beside it, where it is not the default one."""
    what, folder = study.definition, study.folder
    default = ("studies", task_name(what.task), what.recipe)
    if folder.parts[-4:-1] == default and not Path(*folder.parts[:-4]).is_absolute() and len(folder.parts) == 4:
        return []
    return ["--output", str(folder if name is None else folder.with_name(name))]


def _axis(axis: Axis) -> list[str]:
    if isinstance(axis, Interval):
        return ["--range", f"{axis.key}={short_value(axis.low)}:{short_value(axis.high)}{':log' if axis.log else ''}"]
    return ["--grid", f"{axis.key}={','.join(map(_text, axis.values))}"]


def _text(value: JSON) -> str:
    if isinstance(value, str):
        return value
    return short_value(value) if is_number(value) else json.dumps(value, separators=(",", ":"))
