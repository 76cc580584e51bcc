"""`history.json`: with what settings each part of a run was trained, one entry a part. Standard library only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from maekit.runs.files import HISTORY
from maekit.runs.read import Run
from maekit.system.files import write_json


class Change(TypedDict):
    """A setting's value in the part before, and in this one."""

    before: Any
    now: Any


class Part(TypedDict):
    """What `history.json` says of one part of a run; `changed` is by dotted key.

    `started`, `command` and `devices` are those of the part's `environment.json`.
    """

    from_step: int
    started: object
    command: object
    devices: object
    changed: dict[str, Change]
    new_data: bool


def add_part(
    folder: Path,
    step: int,
    environment: Mapping[str, object],
    changed: Mapping[str, tuple[object, object]],
    data: bool,
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
    if step and not parts:  # a run of a version that kept no history
        parts = [_part(0, Run(folder).environment, {}, data=False)]
    write_json(folder / HISTORY, [*parts, _part(step, environment, changed, data=data)])


def read_history(folder: Path) -> list[Part]:
    """The parts of a run, in order; empty for a run of a version that kept none."""
    try:
        found = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _part(
    step: int, environment: Mapping[str, object], changed: Mapping[str, tuple[object, object]], *, data: bool
) -> Part:
    return {
        "from_step": step,
        "started": environment.get("started"),
        "command": environment.get("command"),
        "devices": environment.get("devices"),
        "changed": {key: {"before": before, "now": now} for key, (before, now) in changed.items()},
        "new_data": data,
    }
