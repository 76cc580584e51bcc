"""The report of a folder of runs: by task, the results and what they cost."""

from collections.abc import Sequence
from pathlib import Path

from maekit.report.document import Block, Document, Facts, LineChart, Section, Series, Table, Text
from maekit.report.runs.overview_verdict import best_two, overview_verdict
from maekit.report.runs.ranked import comparable, ranked
from maekit.report.runs.side_by_side import REPEATS, Group, groups, results, setting_of, split_keys, varying, watched
from maekit.report.words import TOY, is_toy, task_name
from maekit.runs.data import data_words, recorded_data
from maekit.runs.find import labels
from maekit.runs.read import Run
from maekit.study.define.space import short_keys
from maekit.system.numbers import cell_text, duration, number, plural

_MOST_CURVES = 8
_MOST_KEYS = 12
_MOST_NAMED = 3


def overview_document(runs: Sequence[Run], created: str) -> Document:
    """Returns the report of several runs.

    Args:
        runs: at least one.
        created: when and by what the report is made.
    """
    named = labels(runs)
    tasks = list(dict.fromkeys(run.task for run in runs))
    found = overview_verdict(runs)
    sections = [found] if found is not None else []
    sections += [_task(task, [run for run in runs if run.task == task], named) for task in tasks]
    sections.append(_cost(runs))
    problems = [f"{named[run.folder]}: {problem}." for run in runs for problem in run.problems]
    if problems:
        sections.append(Section("What is missing", (Text(tuple(problems)),)))
    of = task_name(tasks[0]) if len(tasks) == 1 else plural(len(tasks), "task")
    return Document(f"{plural(len(runs), 'run')} of {of}", _summary(runs, tasks), tuple(sections), created)


def _summary(runs: Sequence[Run], tasks: Sequence[str]) -> list[str]:
    counts = {status: sum(run.status == status for run in runs) for status in dict.fromkeys(r.status for r in runs)}
    lines = [f"{', '.join(f'{count} {status}' for status, count in counts.items())}."]
    for task, found in comparable(runs, tasks):
        best = _best(groups(found))
        monitor = watched(best.runs[0]) if best is not None else None
        if best is not None and monitor is not None:
            name, most = monitor[0], "highest" if monitor[1] == "max" else "lowest"
            sets = [one for own, one in comparable(runs, [task]) if own == task]
            folder = recorded_data(found[0])
            named = "" if folder is None else f" ({Path(folder.folder).name})"
            where = "" if len(sets) == 1 else f", data set {sets.index(found) + 1}{named}"
            lines.append(f"{task_name(task)}{where}: the {most} {name} is {_mean_std(best)}, {_what(best, found)}.")
    toys = sum(is_toy(run.recipe, run.flat_config) for run in runs)
    if toys:
        some = f"{toys} of the runs {'is' if toys == 1 else 'are'}"
        lines.append(f"{'All runs are' if toys == len(runs) else some} {TOY}.")
    return lines


def _best(found: Sequence[Group]) -> Group | None:
    first = next(iter(ranked(found)), None)
    return first if first is not None and first.mean is not None else None


def _what(group: Group, runs: Sequence[Run]) -> str:
    """A group's recipe, and the values of the keys in which the runs of the task differ."""
    keys = [key for key in split_keys(varying(runs))[0] if key not in REPEATS][:_MOST_NAMED]
    return ", ".join([group.runs[0].recipe, *(f"{key} {setting_of(group.runs[0], key)}" for key in keys)])


def _mean_std(group: Group) -> str:
    assert group.mean is not None
    count = f"{len(group.values)} runs" if group.parts is None else f"{len(group.values)} of {group.parts} folds"
    missing = f"; fold {', '.join(group.missing)} missing" if group.missing else ""
    if group.std is None:
        return f"{number(group.mean)} ({'1 run' if group.parts is None else count}{missing})"
    return f"{number(group.mean)} ± {number(group.std)} ({count}, mean and standard deviation{missing})"


def _task(task: str, runs: list[Run], named: dict[Path, str]) -> Section:
    """One section a task; a table for each of its data sets."""
    parts = [found for _, found in comparable(runs, [task])]
    if len(parts) == 1:
        return Section(task_name(task), tuple(_blocks(task_name(task), runs, named)))
    blocks: list[Block] = [Text((f"Of {len(parts)} data sets, which are not compared with each other.",))]
    for at, found in enumerate(parts, 1):
        blocks.append(Text((f"Data set {at}: {data_words(found[0])}.",)))
        blocks.extend(_blocks(f"{task_name(task)}_data{at}", found, named))
    return Section(task_name(task), tuple(blocks))


def _blocks(place: str, runs: list[Run], named: dict[Path, str]) -> list[Block]:
    """The tables and curves of runs that may be compared.

    Args:
        place: what the tables' files are called after.
        runs: of one task and data set.
        named: the runs' labels.
    """
    monitor = next((name[0] for run in runs if (name := watched(run))), None)
    keys = [key for key in split_keys(varying(runs))[0] if key not in REPEATS]
    blocks: list[Block] = []
    if len(groups(runs)) < len(runs) or any(run.fold for run in runs):
        blocks.append(_groups(place, runs, keys[:_MOST_KEYS], monitor))
    blocks.append(_runs(place, runs, keys[:_MOST_KEYS], monitor, named))
    if (pair := best_two(runs, named, place)) is not None:
        blocks.append(pair.numbers)
    if monitor:
        blocks.extend(_curves(place, runs, monitor, named))
    if len(keys) > _MOST_KEYS:
        blocks.append(Text((f"Also different, without a column: {', '.join(keys[_MOST_KEYS:])}.",)))
    return blocks


def _groups(place: str, runs: list[Run], keys: list[str], monitor: str | None) -> Table:
    short, folds = short_keys(keys), any(run.fold for run in runs)
    columns = ("recipe", *(short[key] for key in keys), "n", f"{monitor or 'metric'}, mean", "std")
    rows = tuple(
        (
            group.runs[0].recipe,
            *(_value(group.runs[0], key) for key in keys),
            len(group.values),
            group.mean,
            group.std,
            *([group.parts, ", ".join(group.missing)] if folds else []),
        )
        for group in ranked(groups(runs))
    )
    note = "Runs that differ in their seed alone stand together; std is over n - 1 and empty for one run."
    if not folds:
        return Table(f"groups_{place}", columns, rows, "Over the seeds", note)
    note = (
        "Runs that differ in their fold and seed alone stand together: n folds have a finished run, each counts with "
        "the mean of its seeds, std is over n - 1. Folds train on overlapping images, so their std says less than that "
        "of independent runs; a row of which folds are missing stands below the whole ones."
    )
    return Table(f"groups_{place}", (*columns, "folds", "missing"), rows, "Over the folds", note)


def _runs(place: str, runs: list[Run], keys: list[str], monitor: str | None, named: dict[Path, str]) -> Table:
    short, folds = short_keys(keys), any(run.fold for run in runs)
    settings = (*(short[key] for key in keys), *(["fold"] if folds else []))
    columns = ("run", *settings, "seed", monitor or "metric", "best", "status", "recipe", "steps", "hours", "images/s")
    rows = tuple(
        (
            named[run.folder],
            *(_value(run, key) for key in keys),
            *([str(run.fold) if run.fold else None] if folds else []),
            run.seed,
            results(run).get(monitor) if monitor else None,
            run.best.value if run.status in ("finished", "stopped") else None,
            run.status,
            run.recipe,
            _whole(run.number("step")),
            None if (seconds := run.number("seconds")) is None else seconds / 3600,
            run.number("images_per_second"),
            run.number("peak_memory_gib"),
        )
        for run in runs
    )
    note = "Only a finished run has a result; its value is that after the last step."
    return Table(f"runs_{place}", (*columns, "GiB"), rows, "All runs", note)


def _curves(place: str, runs: list[Run], monitor: str, named: dict[Path, str]) -> list[Block]:
    """The monitored metric over the steps, of the first runs that have one."""
    series: list[Series] = []
    left = 0
    for run in runs:
        if len(series) == _MOST_CURVES:
            left += 1
            continue
        points = tuple((row["step"], row[monitor]) for row in run.rows("val") if monitor in row)
        if points:
            series.append(Series(named[run.folder], points))
    if not series:
        return []
    caption = f"The first {_MOST_CURVES} runs; {left} more are in the table." if left else ""
    title = f"{monitor} of the validations"
    return [LineChart(f"curves_{place}", title, "step", monitor, tuple(series), caption=caption)]


def _cost(runs: Sequence[Run]) -> Section:
    seconds = [value for run in runs if (value := run.number("seconds")) is not None]
    memory = [value for run in runs if (value := run.number("peak_memory_gib")) is not None]
    steps = [value for run in runs if (value := run.number("step")) is not None and run.status != "validated"]
    pairs = [
        ("runs that say what they cost", f"{len(seconds)} of {len(runs)}"),
        ("time in all", duration(sum(seconds)) if seconds else ""),
        ("optimizer steps in all", cell_text(int(sum(steps))) if steps else ""),
        ("most memory", f"{number(max(memory))} GiB" if memory else ""),
    ]
    return Section("Cost", (Facts(tuple(pair for pair in pairs if pair[1])),))


def _value(run: Run, key: str) -> float | str | None:
    """A number where it is one, so that the column sorts."""
    value = run.flat_config.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else setting_of(run, key)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
