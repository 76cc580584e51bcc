"""A run beside the published numbers of its own recipe, where there are any and its metrics may stand beside them."""

from collections.abc import Sequence

from maekit.paper.fill import Group
from maekit.paper.tables import Cell
from maekit.paper.text import verdict_words
from maekit.report.document import Table
from maekit.system.numbers import number


def published(found: Sequence[tuple[Cell, Group]]) -> Table | None:
    """The cells of published tables that a run fills (`paper.fill.targets`) as a table; None without any."""
    rows = tuple(
        (
            f"{cell.table}: {cell.name}",
            cell.published.value,
            group.mean,
            round(group.difference, 4),
            verdict_words(group, cell.ours.noise, lower=cell.lower_is_better),
            f"{cell.published.source} ({cell.published.confidence})",
        )
        for cell, group in found
    )
    if not rows:
        return None
    columns = ("table: row, column", "published", "this run", "difference", "verdict", "source")
    note = "In the units of the table, mostly points of percent; `maekit reproduce` has the whole tables."
    return Table("published", columns, rows, "Beside the published numbers of its recipe", note)


def published_lines(found: Sequence[tuple[Cell, Group]]) -> list[str]:
    """The first of the cells in words; no line without any."""
    if not found:
        return []
    cell, group = found[0]
    more = f" ({len(found) - 1} more below)" if len(found) > 1 else ""
    return [
        f"Published for this recipe (table {cell.table}: {cell.name}): {number(cell.published.value)}; "
        f"this run {number(group.mean)}, {group.difference:+.2f}: "
        f"{verdict_words(group, cell.ours.noise, lower=cell.lower_is_better)}{more}."
    ]
