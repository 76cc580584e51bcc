"""The report of a study: its cells ranked, with standard errors, and what the runs cost."""

import statistics
from collections.abc import Sequence

from maekit.report.document import Block, Document, Facts, Section, Table, Text
from maekit.report.studies.charts import cell_curves, cell_label, heat_map, key_charts, metric_name, rung_chart
from maekit.report.studies.pretrainings import pretrainings_section
from maekit.report.studies.summary import agreement_line, known_or_not, run_seconds, summary
from maekit.report.studies.verdict.cells import ended_cells
from maekit.report.studies.verdict.compared import lead
from maekit.report.studies.verdict.verdict import study_verdict
from maekit.report.words import setting, task_name
from maekit.study.define.labels import value_label
from maekit.study.define.space import Choice, short_keys
from maekit.study.results import (
    Agreement,
    CellResult,
    cell_results,
    full_grid_steps,
    halving_agreement,
    spent_steps,
)
from maekit.study.saved import SavedTrial, Study
from maekit.system.numbers import number
from maekit.system.plain import JSON, is_number


def study_document(study: Study, full: Study | None, created: str) -> Document:
    """Returns the report of a study.

    Args:
        study: the study, finished or not.
        full: the full grid's study, with which one by successive halving is compared; or None.
        created: when and by what the report is made.

    Raises:
        UserError: `full` is not the same study without halving.
    """
    results = cell_results(study)
    agreement = halving_agreement(study, full) if full is not None else None
    sections = [
        study_verdict(study),
        _charts(study, results),
        pretrainings_section(study, results),
        _ranking(study, results),
        _halving(study, agreement),
        _failures(study),
        _cost(study),
        _definition(study),
        _trials(study),
    ]
    keys = [*short_keys(axis.key for axis in study.definition.space).values()]
    keys += [f"{study.definition.folds} folds"] if study.definition.folds else []
    title = f"Study of {', '.join(keys)}: {task_name(study.definition.task)}, {study.definition.recipe}"
    found = tuple(section for section in sections if section is not None)
    return Document(title, summary(study, results, agreement), found, created)


def _charts(study: Study, results: Sequence[CellResult]) -> Section:
    pair, curves = heat_map(study, results), cell_curves(study, results)
    blocks: list[Block] = list(key_charts(study, results)) if any(one.mean is not None for one in results) else []
    blocks += [block for block in (pair, curves) if block is not None]
    return Section("What it is worth", tuple(blocks) or (Text(("Nothing to draw yet: no run has a value.",)),))


def _ranking(study: Study, results: Sequence[CellResult]) -> Section:
    keys = [axis.key for axis in study.definition.space]
    names = short_keys(keys)
    folds = study.definition.folds
    columns = ["rank", *(names[key] for key in keys), metric_name(study), "std", "std error"]
    columns += ["folds", "n"] if folds else ["n"]
    rows = [
        [rank if one.mean is not None else None, *(_value(study, key, one.values.get(key)) for key in keys)]
        + [one.mean, one.std, one.standard_error, *([len(one.by_fold)] if folds else []), one.num_finished]
        for rank, one in enumerate(results, 1)
    ]
    if any(one.num_failed for one in results):
        columns.append("failed")
        rows = [[*row, one.num_failed] for row, one in zip(rows, results, strict=True)]
    if any(one.num_pruned for one in results):
        columns += ["stopped", "at step", "value there"]
        rows = [
            [*row, one.num_pruned, *((one.last_step, one.last_mean) if one.num_pruned else (None, None))]
            for row, one in zip(rows, results, strict=True)
        ]
    note = "n runs went to their end; std is over n - 1, std error is std / sqrt(n), both empty for one run."
    if folds:
        note = (
            f"n runs went to their end, on so many of {folds} folds; mean and std are over the folds. These train on "
            "overlapping images, so the std error is too small by an unknown amount."
        )
    table = Table("ranking", tuple(columns), tuple(map(tuple, rows)), "Cells, the best first", note)
    behind = _behind(study)
    return Section("Ranking", (table, *([behind] if behind is not None else [])))


def _behind(study: Study) -> Table | None:
    """How far each cell is behind the best one, with the interval of that; None without two cells of several runs."""
    keys, known = [axis.key for axis in study.definition.space], ended_cells(study)
    names, rows = short_keys(keys), []
    for one in known[1:]:
        found = lead(study, known[0], one)
        if found.difference is not None:
            low, high = (found.difference.low, found.difference.high) if found.words() else (None, None)
            settings = (_value(study, key, one.values.get(key)) for key in keys)
            rows.append((*settings, found.difference.mean, low, high, found.difference.size))
    if not rows:
        return None
    columns = (*(names[key] for key in keys), "behind by", "95 % low", "95 % high", "n")
    note = (
        "n seeds or folds of both cells were subtracted one by one; low and high are Student's interval of the mean, "
        "and empty below 3. The best of many cells is partly the luckiest, so its lead is rather smaller than that."
    )
    return Table("behind", columns, tuple(rows), f"How far behind the best, {cell_label(study, known[0].values)}", note)


def _halving(study: Study, agreement: Agreement | None) -> Section | None:
    if study.halving is None:
        return None
    cells = study.definition.total_cells
    rows = []
    for number_, step in enumerate(study.halving["rungs"]):
        kept = study.halving["kept"][number_] if number_ < len(study.halving["kept"]) else None
        names = "; ".join(cell_label(study, cell) for cell in kept) if kept is not None else ""
        rows.append((step, cells, None if kept is None else len(kept), names))
        cells = cells if kept is None else len(kept)
    over = study.definition.repeated_over
    note = f"Cells are compared by their mean over the {over}; those that go on do so bit for bit where they paused."
    table = Table("rungs", ("step", "cells", "went on", "which"), tuple(rows), "Rungs", note)
    chart = rung_chart(study)
    blocks: list[Block] = [table, *([chart] if chart is not None else [])]
    if agreement is None:
        blocks.append(Text(("Compare it with the full grid's study by --against STUDY.",)))
    else:
        blocks += [Text((agreement_line(study, agreement),)), _agreement(study, agreement)]
    return Section("Successive halving", tuple(blocks))


def _agreement(study: Study, found: Agreement) -> Facts:
    return Facts(
        (
            ("halving's best cell", cell_label(study, found["halving_best"])),
            ("the full grid's best cell", cell_label(study, found["full_best"])),
            ("difference in the full grid", number(found["difference"])),
            ("standard error of its best", known_or_not(found["standard_error"])),
            ("within one standard error", "yes" if found["agrees"] else "no"),
            ("share of the full grid's steps", f"{number(100 * found['share'])} %"),
        )
    )


def _failures(study: Study) -> Section | None:
    failed = [trial for trial in study.trials if trial["state"] == "failed"]
    if not failed:
        return None
    rows = tuple(
        (one["number"], cell_label(study, one["values"]), *_repeat(study, one), one.get("end_step"), one.get("reason"))
        for one in failed
    )
    columns = ("trial", "cell", *_repeat_columns(study), "at step", "reason")
    return Section("Failures", (Table("failures", columns, rows, "Trials that failed, and why"),))


def _cost(study: Study) -> Section:
    spent, full = spent_steps(study), full_grid_steps(study)
    speeds = [speed for trial in study.trials if (speed := trial.get("images_per_second")) is not None]
    memory = [gib for trial in study.trials if (gib := trial.get("peak_memory_gib")) is not None]
    hosts = dict.fromkeys(str(trial["host"]) for trial in study.trials if trial.get("host"))
    pairs = [
        ("hours of runs", number(run_seconds(study) / 3600)),
        ("optimizer steps", f"{spent:,}"),
        (f"every {study.definition.one_run} to its end", f"{full:,} optimizer steps"),
        ("share of that", f"{number(100 * spent / full)} %" if full else ""),
        ("speed of a run", f"{number(statistics.median(speeds))} images/s (median)" if speeds else ""),
        ("most memory of a run", f"{number(max(memory))} GiB" if memory else ""),
        ("machines", ", ".join(hosts)),
    ]
    return Section("Cost", (Facts(tuple(pair for pair in pairs if pair[1])),))


def _definition(study: Study) -> Section:
    what = study.definition
    axes = [
        (axis.key, ", ".join(map(setting, axis.values)))
        if isinstance(axis, Choice)
        else (axis.key, f"{setting(axis.low)} to {setting(axis.high)}{', on a log scale' if axis.log else ''}")
        for axis in what.space
    ]
    pruning = f"successive halving, one in {what.reduction} goes on" if what.pruning == "halving" else what.pruning
    pairs = [
        ("task", task_name(what.task)),
        ("recipe", what.recipe),
        *axes,
        ("seeds", ", ".join(map(str, what.seeds))),
        ("folds", f"{what.folds}, each validated on once" if what.folds else ""),
        ("sampler", what.sampler),
        ("pruning", pruning),
        ("compared by", f"{metric_name(study)} after the last step, {what.mode} is best"),
        ("steps of a full run", f"{what.max_steps:,}"),
        ("preset", what.preset or ""),
        ("further flags", " ".join(what.flags)),
        ("storage", study.storage),
        ("last changed", study.updated),
    ]
    fixed = tuple((key, setting(value)) for key, value in what.fixed.items())
    blocks: list[Block] = [Facts(tuple(pair for pair in pairs if pair[1]))]
    if fixed:
        blocks.append(Table("fixed", ("key", "value"), fixed, "What every run has alike"))
    return Section("The study", tuple(blocks))


def _trials(study: Study) -> Section | None:
    keys = [axis.key for axis in study.definition.space]
    names = short_keys(keys)
    rows = tuple(
        (
            trial["number"],
            *(_value(study, key, trial["values"].get(key)) for key in keys),
            *_repeat(study, trial),
            trial["state"],
            trial["value"],
            trial.get("best"),
            trial.get("steps"),
            trial.get("end_step"),
            trial.get("seconds"),
            trial.get("images_per_second"),
            trial.get("peak_memory_gib"),
            trial.get("folder"),
        )
        for trial in study.trials
    )
    columns = ("trial", *(names[key] for key in keys), *_repeat_columns(study), "state", metric_name(study), "best")
    columns = (*columns, "steps", "end step", "seconds", "images/s", "GiB", "folder")
    return Section("Trials", (Table("trials", columns, rows, "Every trial"),)) if rows else None


def _repeat(study: Study, trial: SavedTrial) -> tuple[int | str | None, ...]:
    return (trial["seed"], trial.get("fold")) if study.definition.folds else (trial["seed"],)


def _repeat_columns(study: Study) -> tuple[str, ...]:
    return ("seed", "fold") if study.definition.folds else ("seed",)


def _value(study: Study, key: str, value: JSON) -> str | float:
    """A number where it is one, so that the column sorts."""
    return value if is_number(value) else value_label(study.definition.space, key, value)
