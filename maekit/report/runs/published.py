"""A run beside the published numbers of its own recipe, where there are any and its metrics may stand beside them."""

from maekit.paper.fill import targets
from maekit.paper.text import verdict_words
from maekit.report.document import Table
from maekit.report.words import number
from maekit.runs.read import Run


def published(run: Run) -> Table | None:
    """The cells of published tables that the run fills; None where it fills none, as a toy or an unfinished run."""
    rows = tuple(
        (
            f"{cell.table}: {cell.name}",
            cell.published.value,
            group.mean,
            round(group.difference, 4),
            verdict_words(group, cell.ours.noise, lower=cell.lower_is_better),
            f"{cell.published.source} ({cell.published.confidence})",
        )
        for cell, group in targets(run)
    )
    if not rows:
        return None
    columns = ("table: row, column", "published", "this run", "difference", "verdict", "source")
    note = "In the units of the table, mostly points of percent; `maekit reproduce` has the whole tables."
    return Table("published", columns, rows, "Beside the published numbers of its recipe", note)


def published_lines(found: Table | None) -> list[str]:
    """The first of them in words."""
    if found is None:
        return []
    cell, value, own, difference, verdict, _ = found.rows[0]
    more = f" ({len(found.rows) - 1} more below)" if len(found.rows) > 1 else ""
    return [
        f"Published for this recipe (table {cell}): {number(value)}; this run {number(own)}, "
        f"{difference:+.2f}: {verdict}{more}."
    ]
