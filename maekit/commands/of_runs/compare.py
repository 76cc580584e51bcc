"""`maekit compare`: runs side by side: metrics, status, cost, and where their configurations differ."""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.runs.read import Run
    from maekit.system.plain import JSON

FORWARDS = False
_Column = tuple[str, ...]
_COST: dict[Literal["best", "time", "images_per_second", "peak_memory_gib"], str] = {
    "best": "best",
    "time": "time",
    "images_per_second": "images/s",
    "peak_memory_gib": "GiB",
}


class ComparedRun(TypedDict):
    """One run of a comparison; `data_set` is the number of its data set, from 0."""

    label: str
    folder: str
    task: str
    recipe: str
    status: str
    seed: int | None
    data: str
    step: float | None
    best: float | None
    seconds: float | None
    time: str | None
    images_per_second: float | None
    peak_memory_gib: float | None
    differs_from_recipe: "list[dict[str, JSON]]"
    problems: list[str]
    data_set: int


class ComparedMetric(TypedDict):
    """A metric by the runs' labels, None where a run has none or has not finished; `best` names the best runs."""

    name: str
    better: str | None
    values: dict[str, float | None]
    best: list[str]


class ComparedKey(TypedDict):
    """A key and its values by the runs' labels, without the runs whose configuration is lost."""

    key: str
    values: "dict[str, JSON]"


class Comparison(TypedDict):
    """What `maekit compare --json` prints.

    `elsewhere` are keys that differ and cannot change what is learned; `not_in_all` are keys that some runs do not have
    at all. No metric has a best run across tasks and across data sets.
    """

    runs: list[ComparedRun]
    same_data: bool
    metrics: list[ComparedMetric]
    differences: list[ComparedKey]
    elsewhere: list[str]
    not_in_all: list[str]
    notes: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="two or more runs' folders or numbers, or folders of runs"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Prints the comparison of two or more runs as text, or with --json as one object."""
    from maekit.runs.find import find_runs

    runs = find_runs(args.runs)
    if len(runs) < 2:
        raise UserError(f"got 1 run, {runs[0].folder}, expected two or more to compare; `maekit report` shows one")
    found = compared(runs)
    if args.json:
        print(json.dumps(found))
    else:
        print("\n".join(text(found)))
    return 0


def compared(runs: Sequence["Run"]) -> Comparison:
    """Returns the comparison of two or more runs as plain values."""
    from maekit.report.runs.side_by_side import metrics, split_keys, varying
    from maekit.runs.data import data_sets
    from maekit.runs.find import labels

    named = labels(runs)
    names = [named[run.folder] for run in runs]
    different, readable = varying(runs), sum(bool(run.config) for run in runs)
    everywhere = {key: values for key, values in different.items() if len(values) == readable}
    sets = data_sets(runs)
    ours, elsewhere = split_keys(everywhere, one_data_set=len(set(sets)) == 1)
    return {
        "runs": [_compared_run(name, run, number) for name, run, number in zip(names, runs, sets, strict=True)],
        "same_data": len(set(sets)) == 1,
        "metrics": [
            {
                "name": one.name,
                "better": one.mode,
                "values": dict(zip(names, one.values, strict=True)),
                "best": [names[at] for at in one.best],
            }
            for one in metrics(runs)
        ],
        "differences": [
            {"key": key, "values": {named[folder]: value for folder, value in everywhere[key].items()}} for key in ours
        ],
        "elsewhere": elsewhere,
        "not_in_all": [key for key in different if key not in everywhere],
        "notes": list(_notes(runs, names)),
    }


def text(found: Comparison) -> Iterator[str]:
    """The comparison as lines: a column for each run, in several blocks where the terminal is too narrow for all.

    Runs whose names are too long to head a column get numbers, which are explained first.
    """
    names = [run["label"] for run in found["runs"]]
    columns = [_column(found, at) for at in range(len(names))]
    width = shutil.get_terminal_size((120, 24)).columns
    if _width([_row_names(found), *columns]) > width:
        yield from (f"[{at}] {name}" for at, name in enumerate(names, 1))
        columns = [(f"[{at}] ", *column[1:]) for at, column in enumerate(columns, 1)]
    for number, block in enumerate(_blocks(_row_names(found), columns, width)):
        yield from ["", *_aligned(block)] if number else _aligned(block)
    if any(metric["best"] for metric in found["metrics"]):
        yield "* the best of its row"
    yield from found["notes"]
    if not found["differences"]:
        yield "no hyper-parameter and no seed differs"
    if found["not_in_all"]:
        yield f"keys that not all of these runs have, left out: {', '.join(found['not_in_all'])}"
    if found["elsewhere"]:
        yield f"also different, without effect on what is learned: {', '.join(found['elsewhere'])}"


def _blocks(names: _Column, columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """The columns in blocks that fit the width, each with the rows' names; at least one column a block."""
    block = [names]
    for column in columns:
        if len(block) > 1 and _width([*block, column]) > width:
            yield block
            block = [names]
        block.append(column)
    yield block


def _row_names(found: Comparison) -> _Column:
    tasks = ["task"] if len({run["task"] for run in found["runs"]}) > 1 else []
    names = [metric["name"] for metric in found["metrics"]]
    return (
        "",
        *tasks,
        *_data_row(found, "data"),
        "recipe",
        "status",
        *names,
        *_COST.values(),
        *(one["key"] for one in found["differences"]),
    )


def _column(found: Comparison, at: int) -> _Column:
    """The cells of one run's column."""
    from maekit.report.words import setting, task_name
    from maekit.system.numbers import cell_text

    run = found["runs"][at]
    label = run["label"]
    tasks = [task_name(run["task"])] if len({other["task"] for other in found["runs"]}) > 1 else []
    metrics = [
        (cell_text(metric["values"][label]) or "-") + ("*" if label in metric["best"] else " ")
        for metric in found["metrics"]
    ]
    cost = [cell_text(run[key]) or "-" for key in _COST]
    settings = [setting(one["values"][label]) if label in one["values"] else "-" for one in found["differences"]]
    data = _data_row(found, f"set {run['data_set'] + 1}")
    plain = [f"{cell} " for cell in (label, *tasks, *data, run["recipe"], run["status"])]  # a blank below the stars
    return (*plain, *metrics, *(f"{cell} " for cell in (*cost, *settings)))


def _data_row(found: Comparison, cell: str) -> _Column:
    """The row of data sets; empty where all runs are of one."""
    return () if found["same_data"] else (cell,)


def _compared_run(label: str, run: "Run", data_set: int) -> ComparedRun:
    from maekit.runs.data import data_words
    from maekit.runs.differences import differences
    from maekit.system.numbers import duration

    seconds = run.number("seconds")
    return {
        "label": label,
        "folder": str(run.folder),
        "task": run.task,
        "recipe": run.recipe,
        "status": run.status,
        "seed": run.seed,
        "data": data_words(run),
        "step": run.number("step"),
        "best": run.best.value if run.status in ("finished", "stopped") else None,
        "seconds": seconds,
        "time": None if seconds is None else duration(seconds),
        "images_per_second": run.number("images_per_second"),
        "peak_memory_gib": run.number("peak_memory_gib"),
        "differs_from_recipe": [one._asdict() for one in differences(run)],
        "problems": list(run.problems),
        "data_set": data_set,
    }


def _notes(runs: Sequence["Run"], names: list[str]) -> Iterator[str]:
    from maekit.report.runs.overview_verdict import told_apart
    from maekit.report.runs.sections import how_far
    from maekit.runs.data import data_sets, data_words, joined_key

    tasks = list(dict.fromkeys(run.task for run in runs))
    if len(tasks) > 1:
        yield f"the runs are of different tasks ({', '.join(tasks)}), so no best is marked"
    yield from (finding.text for finding in told_apart(runs) or ())
    sets = data_sets(runs)
    if len(set(sets)) > 1:
        if len(set(data_sets(runs, joined_key))) == 1:
            yield "the runs are of different folds, so no best is marked; `maekit report` joins them:"
        else:
            yield "the runs are of different data, or do not record it, so no best is marked:"
        for name, run, number in zip(names, runs, sets, strict=True):
            yield f"  {name}: set {number + 1}, {data_words(run)}"
    for name, run in zip(names, runs, strict=True):
        if run.status in ("unfinished", "paused", "stopped") or run.early_stop is not None:
            yield f"{name}: {how_far(run)}"
        yield from (f"{name}: {problem}" for problem in run.problems)


def _width(columns: Sequence[_Column]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns)


def _aligned(columns: Sequence[_Column]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        first, *rest = zip(row, widths, strict=True)
        yield "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()
