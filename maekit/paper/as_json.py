"""What `maekit reproduce --json` prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from maekit.paper.fill import Filled, Group, Unused
from maekit.paper.missing import Missing
from maekit.paper.tables import Published, Table
from maekit.system.plain import JSON


def table_json(table: Table, filled: Sequence[Filled], labels: Mapping[Path, str]) -> dict[str, JSON]:
    """A table: every published number with its source, and the cells with the runs in them."""
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "columns": list(table.columns),
        "rows": [
            {"name": row.name, "values": {column: _published(value) for column, value in row.values.items()}}
            for row in table.rows
        ],
        "notes": list(table.notes),
        "cells": [_cell(place, labels) for place in filled],
    }


def missing_json(missing: Sequence[Missing]) -> list[dict[str, JSON]]:
    """The missing runs: each with its command, the cells that it fills, and the folder of the run that it resumes."""
    return [
        {
            "command": one.command,
            "words": list(one.words),
            "cells": list(one.cells),
            "goes_on": str(one.goes_on) if one.goes_on else None,
            "may_be_running": one.live,
        }
        for one in missing
    ]


def unused_json(unused: Sequence[Unused], labels: Mapping[Path, str]) -> list[dict[str, JSON]]:
    """The runs that fill no cell, each with the reason and with what is wrong with its folder."""
    return [
        {
            "run": labels[one.run.folder],
            "folder": str(one.run.folder),
            "reason": one.reason,
            "problems": one.run.problems,
        }
        for one in unused
    ]


def _published(value: Published) -> dict[str, JSON]:
    return {"value": value.value, "source": value.source, "confidence": value.confidence}


def _cell(place: Filled, labels: Mapping[Path, str]) -> dict[str, JSON]:
    cell, ours = place.cell, place.cell.ours
    return {
        "row": cell.row,
        "column": cell.column,
        "published": _published(cell.published),
        "published_seed_noise": {"value": ours.noise, "source": ours.noise_source} if ours.noise is not None else None,
        "lower_is_better": cell.lower_is_better,
        "task": ours.task,
        "recipes": list(ours.recipes),
        "metric": ours.metric,
        "when": dict(ours.when),
        "filled": place.own is not None,
        "groups": [_group(group, labels) for group in place.groups],
    }


def _group(group: Group, labels: Mapping[Path, str]) -> dict[str, JSON]:
    return {
        "recipe": group.recipe,
        "weights": group.origin or None,
        "mean": group.mean,
        "std": group.std,
        "num_seeds": len(group.by_key),
        "difference": group.difference,
        "margin": group.margin,
        "verdict": group.verdict,
        "differs": [{"key": item.key, "recipe": item.recipe, "run": item.run} for item in group.differs],
        "runs": [
            {"run": labels[one.run.folder], "folder": str(one.run.folder), "seed": one.run.seed, "value": one.value}
            for one in group.samples
        ],
    }
