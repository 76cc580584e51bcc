"""A table in the terminal: the published numbers, your runs in its cells, and the verdicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from maekit.paper.fill import DIFFERS, NO_NOISE, Filled, Group, Unused
from maekit.paper.missing import Missing
from maekit.paper.tables import Row, Table
from maekit.runs.differences import Difference
from maekit.system.numbers import plural

NONE, EMPTY, OTHER = "-", ".", "*"
MOST_RUNS = 4


def table_lines(table: Table, filled: Sequence[Filled], labels: Mapping[Path, str], which: str) -> list[str]:
    """The published rows with yours under them, then your runs cell by cell, then the notes."""
    name = f"Table {table.name}" if table.name.isdigit() else table.name.replace("fig", "Figure ")
    lines = [f"{name}: {table.title}", f"published: {table.source}", ""]
    lines += _grid(table, filled)
    if filled:
        lines += [
            "",
            f"{NONE} not published   {EMPTY} no run of yours yet   {OTHER} only runs that differ from the recipe",
        ]
    lines += [f"note: {note}" for note in table.notes]
    groups = [(place, group) for place in filled for group in place.groups]
    if groups:
        lines += ["", f"Your runs ({'values at the end of the run' if which == 'final' else 'values of best.ckpt'}):"]
        for place, group in groups:
            lines += _group_lines(place, group, labels)
    return lines


def missing_lines(missing: Sequence[Missing]) -> list[str]:
    """The command of each missing run under the cells that it fills."""
    lines = [f"Missing: {plural(len(missing), 'run') if missing else 'nothing'}"]
    for one in missing:
        goes_on = " (goes on with a run that was stopped)" if one.goes_on else ""
        live = "; its folder changed a moment ago, it may still be on" if one.live else ""
        lines += [f"  # {'; '.join(one.cells)}{goes_on}{live}", f"  {one.command}"]
    return lines


def unused_lines(unused: Sequence[Unused], labels: Mapping[Path, str]) -> list[str]:
    """The runs in no cell, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for one in unused:
        by_reason.setdefault(one.reason, []).append(labels[one.run.folder])
    lines = [f"In no cell: {plural(len(unused), 'run')}"] if unused else []
    return lines + [f"  {_some(names)}: {reason}" for reason, names in by_reason.items()]


def number(value: float) -> str:
    """A published number, with one decimal or as many as it has."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def words(item: Difference) -> str:
    """A difference from the recipe, as `optim.lr 0.1 (recipe: 0.2)`."""
    return f"{item.key} {_word(item.run)} (recipe: {_word(item.recipe)})"


def _grid(table: Table, filled: Sequence[Filled]) -> list[str]:
    places = {(place.cell.row, place.cell.column): place for place in filled}
    rows = [["", *table.columns, ""]]
    for row in table.rows:
        published = [number(row.values[column].value) if column in row.values else NONE for column in table.columns]
        rows.append([row.name, *published, _source(table, row)])
        if any((row.name, column) in places for column in table.columns):
            rows.append(["  yours", *(_yours(places.get((row.name, column))) for column in table.columns), ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, len(row) - 1)), row[-1]]
        ).rstrip()
        for row in rows
    ]


def _yours(place: Filled | None) -> str:
    if place is None:
        return ""
    if place.own is None:
        return OTHER if place.groups else EMPTY
    return f"{place.own.mean:.2f}"


def _source(table: Table, row: Row) -> str:
    """A row's source where it is not the table's, and the confidence of its numbers where it is not `paper`."""
    remarks = [] if row.source == table.source else [row.source]
    if row.confidence != "paper":
        remarks.append(row.confidence)
    for word in dict.fromkeys(value.confidence for value in row.values.values()):
        if word != row.confidence:
            remarks.append(f"{', '.join(c for c, value in row.values.items() if value.confidence == word)}: {word}")
    return "; ".join(remarks)


def _group_lines(place: Filled, group: Group, labels: Mapping[Path, str]) -> list[str]:
    cell, count = place.cell, len(group.by_key)
    what = "weights" if cell.ours.evaluation else "seed"
    spread = f" +- {group.std:.2f}" if group.std is not None else ""
    seeds = f"{count} {what}{'s' * (count > 1 and what == 'seed')}"
    if what == "seed":
        seeds = f"seed {next(iter(group.by_key))}" if count == 1 else f"{seeds} {', '.join(group.by_key)}"
    head = f"  {cell.name}: published {number(cell.published.value)}, yours {group.mean:.2f}{spread} ({seeds})"
    lines = [f"{head}, {group.difference:+.2f}: {verdict_words(group, cell.ours.noise, lower=cell.lower_is_better)}"]
    if group.differs:
        lines.append(f"    differs: {'; '.join(words(item) for item in group.differs)}")
    runs = _some([labels[one.run.folder] for one in group.samples])
    of = f", {group.origin}" if group.origin else ""
    return [*lines, f"    recipe {group.recipe}{of}: {runs}"]


def verdict_words(group: Group, noise: float | None, *, lower: bool) -> str:
    """The verdict on a group, in words; `lower` means that less is better."""
    if group.verdict == DIFFERS:
        return "no verdict, since it differs from the recipe"
    if group.verdict == NO_NOISE:
        return "no verdict, since no seed noise was published" + (" (less is better)" if lower else "")
    single = "; a single seed, whose own noise is taken to be the published" if len(group.by_key) == 1 else ""
    where = "within" if group.verdict == "within" else f"{group.verdict}, outside"
    return f"{where} the seed noise (+- {group.margin:.2f}, from the published {noise:g}){single}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_RUNS} more" if len(names) > MOST_RUNS else ""
    return ", ".join(names[:MOST_RUNS]) + more


def _word(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
