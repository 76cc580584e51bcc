"""The report of one run. A part whose file is missing is left out, and listed under `What is missing`."""

from collections.abc import Sequence

from maekit.paper.fill import Group, targets
from maekit.paper.tables import Cell
from maekit.report.document import Document, Section, Text
from maekit.report.runs.classes import classes, examples, values
from maekit.report.runs.curves import curves, layers
from maekit.report.runs.data_section import data
from maekit.report.runs.published import published, published_lines
from maekit.report.runs.sections import (
    configuration,
    cost,
    cost_line,
    environment,
    how_far,
    result,
    whole_configuration,
)
from maekit.report.runs.side_by_side import watched
from maekit.report.runs.verdict.verdict import verdict
from maekit.report.words import TOY, is_toy, setting, small_recipe, task_name
from maekit.runs.data import recorded_data
from maekit.runs.differences import Difference, differences
from maekit.runs.files import NAN_STEP
from maekit.runs.read import Run
from maekit.system.numbers import number, plural


def run_document(run: Run, created: str) -> Document:
    """Returns the report of a run, of whatever its folder holds.

    Args:
        run: the run; a cut or unfinished one too.
        created: when and by what the report is made.
    """
    missing = list(run.problems)
    beside = targets(run)
    sections = [
        verdict(run),
        result(run, published(beside)),
        classes(run, missing),
        values(run, missing),
        examples(run, missing),
        curves(run),
        data(run),
        layers(run),
        configuration(run),
        cost(run),
        environment(run),
    ]
    if run.status != "validated":
        missing.extend(_not_recorded(run, sections))
    if missing:
        sections.append(Section("What is missing", (Text(tuple(f"{line[0].upper()}{line[1:]}." for line in missing)),)))
    sections.append(whole_configuration(run))
    title = f"{task_name(run.task)}, {run.recipe}: run {run.folder.resolve().name}"
    return Document(title, summary(run, beside), tuple(one for one in sections if one is not None), created)


def summary(run: Run, beside: Sequence[tuple[Cell, Group]]) -> list[str]:
    """The result, the published number, whether it is a toy, differences from the recipe, cost and problems."""
    lines = [_headline(run), *published_lines(beside)]
    if is_toy(run.recipe, run.flat_config):
        lines.append(f"This is a run {TOY}.")
    elif small := small_recipe(run.recipe, run.flat_config):
        lines.append(small)
    found = differences(run)
    if found:
        listed = ", ".join(_difference(run, one) for one in found[:4])
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        lines.append(f"It differs from its recipe in {plural(len(found), 'key')}: {listed}{more}.")
    elif run.recipe_values:
        lines.append(f"Every hyper-parameter is that of the recipe {run.recipe}.")
    if cost_line(run):
        lines.append(f"It took {cost_line(run)}.")
    if run.status == "finished" and (run.folder / NAN_STEP).is_file():
        lines.append(f"{NAN_STEP} is of an earlier session that failed; the run went on to its end since.")
    lines.extend(f"Note: {problem}." for problem in run.problems)
    return lines


def _difference(run: Run, one: Difference) -> str:
    origin = "recipe" if one.key in run.recipe_values else "default"
    return f"{one.key} {setting(one.run)} ({origin}: {setting(one.recipe)})"


def _headline(run: Run) -> str:
    far = f"{how_far(run)[0].upper()}{how_far(run)[1:]}"
    named = watched(run)
    monitor = named[0] if named else next(iter(run.val), None)
    if run.status in ("unfinished", "paused") or monitor is None:
        return f"{far}."
    value = run.val.get(monitor)
    if value is None:
        return f"{far}; its {monitor} is not a number or not recorded."
    best = run.best
    at = "" if best.step is None else f" at step {best.step:,}"
    trained = run.status in ("finished", "stopped")
    also = f"; best {number(best.value)}{at}" if trained and best.value is not None else ""
    return f"{monitor} {number(value)}{also}. {far}."


def _not_recorded(run: Run, sections: list[Section | None]) -> list[str]:
    """One line for each section that newer or longer runs have and this one has not."""
    there = {section.title for section in sections if section is not None}
    parts = {
        "Layers": "layers.csv has no rows, so there are no heat maps of the layers",
        "Classes": "there is no confusion.json and no per_class.json, so the classes are not told apart",
        "Examples": "there are no examples and no pictures",
    }
    found = recorded_data(run)
    if found is not None and not found.classes:
        del parts["Classes"]
    return [words for title, words in parts.items() if title not in there]
