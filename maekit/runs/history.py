"""`history.json`: with what settings each part of a run was trained, one entry a part. Standard library only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maekit.system.files import write_json

FILE = "history.json"


def add_part(
    folder: Path, step: int, environment: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]], data: bool
) -> None:
    """Adds an entry for the part that now begins; `config.yaml` and `environment.json` are those of the newest part.

    Args:
        folder: the run's folder, with the files of the part before.
        step: optimizer steps done, after which the part begins.
        environment: when it started, its command and its devices, as `environment.json` is going to have them.
        changed: settings that differ from the part before, as (before, now).
        data: whether the data differs from that of the part before.
    """
    parts = read_history(folder)
    if step and not parts:
        parts = [_entry(0, _read(folder / "environment.json"), {}, data=False)]  # it began without a history
    write_json(folder / FILE, [*parts, _entry(step, environment, changed, data=data)])


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The parts of a run, in order; empty for a run of a version that kept none."""
    found = _read(folder / FILE)
    return found if isinstance(found, list) else []


def _entry(
    step: int, environment: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]], *, data: bool
) -> dict[str, Any]:
    told = {key: environment.get(key) for key in ("started", "command", "devices")}
    differences = {key: {"before": before, "now": now} for key, (before, now) in changed.items()}
    return {"from_step": step, **told, "changed": differences, "new_data": data}


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
