"""The report of several studies: which weights are best for which task."""

import statistics
from collections.abc import Sequence

from maekit.report.document import Block, Document, HeatMap, Section, Table, Text, Value
from maekit.report.studies.charts import cell_label, key_charts, metric_name
from maekit.report.studies.pretrainings import Standing, best_numbers, standings
from maekit.report.studies.verdict.several import differences, studies_verdict
from maekit.report.words import TOY, is_toy, task_name
from maekit.study.define.labels import weights_labels
from maekit.study.results import cell_results
from maekit.study.saved import Study
from maekit.system.numbers import number, plural


def studies_document(studies: Sequence[Study], created: str) -> Document:
    """Returns one report of several studies: a table of weights by task, the studies' own rankings, their curves.

    Args:
        studies: the studies, finished or not; each is a column.
        created: when and by what the report is made.
    """
    found = {name: standings(study, cell_results(study)) for name, study in _named(studies).items()}
    labels = weights_labels(list(dict.fromkeys(str(one.value) for column in found.values() for one in column)))
    table = _by_task(found, labels)
    apart = differences(_named(studies), found)
    verdict = studies_verdict(_named(studies), found)
    sections = [
        *([verdict] if verdict is not None else []),
        Section("Weights by task", (table, *_ranks(found, labels), *([apart] if apart is not None else []))),
        Section("Where runs are missing", (_missing(found, labels),)),
        *(Section(name, _of_study(study)) for name, study in _named(studies).items()),
    ]
    title = f"{len(labels)} weights to start from, in {plural(len(studies), 'study', 'studies')}"
    if len(labels) == 1:
        tasks = dict.fromkeys(task_name(study.definition.task) for study in studies)
        title = f"{plural(len(studies), 'study', 'studies')} of {', '.join(tasks)}"
    return Document(title, _summary(studies, found, labels), tuple(sections), created)


def _named(studies: Sequence[Study]) -> dict[str, Study]:
    """Each study by its task, with recipe and folder where that is needed to tell studies apart."""
    parts = [
        (task_name(study.definition.task), study.definition.recipe, study.folder.name, str(study.folder))
        for study in studies
    ]
    for count in range(1, 5):
        names = [" ".join(part[:count]) for part in parts]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, studies, strict=True))


def _by_task(found: dict[str, list[Standing]], labels: dict[str, str]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for value, label in labels.items():
        own = {name: one for name, column in found.items() for one in column if str(one.value) == value}
        ranks = [one.rank for one in own.values() if one.rank is not None]
        pretraining = next((one.pretraining for one in own.values() if one.pretraining), "")
        mean_rank = statistics.fmean(ranks) if len(ranks) == len(found) else None
        rows.append((label, pretraining, mean_rank, *(_cell(own.get(name)) for name in found)))
    rows.sort(key=lambda row: (row[2] is None, row[2] or 0))
    columns = ("weights", "pre-training", "mean rank", *found)
    if not any(row[1] for row in rows):  # runs of earlier versions did not record it
        rows, columns = [(row[0], *row[2:]) for row in rows], (columns[0], *columns[2:])
    note = (
        "Rank in the column, the metric of its best cell ± standard deviation (n - 1), and of how many seeds or folds; "
        "= : not told from the one before it; * : runs are missing. The mean rank is of weights that every column has."
    )
    return Table("weights_by_task", columns, tuple(rows), "What each is worth, by task", note)


def _cell(one: Standing | None) -> str:
    if one is None:
        return "not in this study"
    if one.best is None or one.best.mean is None:
        return "missing"
    spread = f" ± {one.best.std:.2g}" if one.best.std is not None else ""
    return f"{one.place}: {number(one.best.mean)}{spread} ({len(one.best.points)}){'*' if one.missing else ''}"


def _ranks(found: dict[str, list[Standing]], labels: dict[str, str]) -> list[HeatMap]:
    """The ranks as a map; none for a single column or row."""
    if len(found) < 2 or len(labels) < 2:
        return []
    ranks = [{str(one.value): one.rank for one in column} for column in found.values()]
    cells = tuple(tuple(column.get(value) for column in ranks) for value in labels)
    caption = "1 is best. An empty cell has no finished run."
    return [
        HeatMap(
            "ranks", "Rank by task", "task", "weights", tuple(found), tuple(labels.values()), cells, caption=caption
        )
    ]


def _missing(found: dict[str, list[Standing]], labels: dict[str, str]) -> Block:
    rows = []
    for name, column in found.items():
        known = {str(one.value): one for one in column}
        for value, label in labels.items():
            lacking = "not in this study" if value not in known else known[value].missing
            if lacking:
                rows.append((name, label, lacking))
    if not rows:
        return Text(
            ("Nothing is missing: every study has every one of these weights, and all runs came to their end.",)
        )
    return Table("missing", ("study", "weights", "missing"), tuple(rows), "What is not there")


def _of_study(study: Study) -> tuple[Block, ...]:
    results = cell_results(study)
    rows = tuple((one.place, one.label, *best_numbers(one)) for one in standings(study, results))
    columns = ("rank", "weights", metric_name(study), "std", "n")
    where = Text((f"{study.definition.recipe}, in {study.folder}; the whole report: maekit report {study.folder}",))
    table = Table(f"ranking_{study.folder.name}", columns, rows, "Weights, the best first")
    charts = key_charts(study, results) if any(one.mean is not None for one in results) else []
    return (where, *charts, table)


def _summary(studies: Sequence[Study], found: dict[str, list[Standing]], labels: dict[str, str]) -> list[str]:
    lines = []
    for (name, column), study in zip(found.items(), studies, strict=True):
        first = column[0] if column else None
        if first is None or first.best is None or first.best.mean is None:
            lines.append(f"{name}: no run has come to its end yet.")
            continue
        label = labels[str(first.value)]
        equal = [labels[str(one.value)] for one in column[1:2] if one.equal]
        best = label if len(column) > 1 else cell_label(study, first.best.values)
        line = f"{name}: {best} is best, {metric_name(study)} {number(first.best.mean)}"
        lines.append(line + (f"; {equal[0]} is not told from it." if equal else "."))
    if any(is_toy(study.definition.recipe, study.definition.fixed) for study in studies):
        lines.append(f"Studies with a smoke recipe are {TOY}.")
    return lines
