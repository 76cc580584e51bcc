"""`study.json`: the whole study as plain values, for tables and reports that need no database."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from maekit.study.queue.pruning import HalvingPlan, Kept, Plan, rung_steps
from maekit.study.queue.trials import current, leg_of
from maekit.study.results import STUDY_FILE
from maekit.system.files import write_json

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def study_values(plan: Plan, shown: str, trials: Sequence[FrozenTrial], kept: Kept) -> dict[str, Any]:
    """The study as plain values.

    Args:
        plan: what its runs are.
        shown: the database's URL without its password.
        trials: all trials; those that count are told.
        kept: the cells that halving let go on, by rung.
    """
    rows = [row(trial) for trial in current(trials).values()]  # in the order their legs were first put into the queue
    if isinstance(plan, HalvingPlan):
        _say_who_stopped(plan, rows, trials, kept)
    return {
        "format": 1,
        "definition": plan.definition.as_json(),
        "storage": shown,
        "trials": rows,
        "halving": {"rungs": _rungs(plan), "kept": kept} if isinstance(plan, HalvingPlan) else None,
    }


def file_of(only: int | None) -> str:
    """Where the whole study is told, or, of an array's one run, that alone: its siblings write at the same time."""
    return STUDY_FILE if only is None else f"logs/trial-{only}.json"


def write_study(file: Path, values: dict[str, Any]) -> None:
    """Writes the values, whole or not at all."""
    write_json(file, {**values, "updated": datetime.now(UTC).isoformat(timespec="seconds")})


def row(trial: FrozenTrial) -> dict[str, Any]:
    """One trial as plain values."""
    leg, notes = leg_of(trial), trial.user_attrs
    result = notes.get("result") or {}
    return {
        "number": trial.number,
        "values": leg.cell,
        "seed": leg.seed,
        "rung": leg.rung,
        "state": _STATES[trial.state],
        "value": trial.value if trial.state != TrialState.FAIL else None,
        "best": result.get("best"),
        "steps": result.get("steps"),
        "end_step": result.get("end_step"),
        "seconds": result.get("seconds"),
        "images_per_second": result.get("images_per_second"),
        "peak_memory_gib": result.get("peak_memory_gib"),
        "folder": notes.get("folder"),
        "host": notes.get("host"),
        "reason": notes.get("reason"),
        "intermediate": notes.get("curve") or {str(step): v for step, v in sorted(trial.intermediate_values.items())},
    }


def _rungs(plan: HalvingPlan) -> list[int]:
    return rung_steps(plan.definition.max_steps, len(plan.cells), plan.definition.reduction)


def _say_who_stopped(plan: HalvingPlan, rows: list[dict[str, Any]], trials: Sequence[FrozenTrial], kept: Kept) -> None:
    """In the database a run that paused is complete, since its value counts; the study gave it up all the same."""
    there, sorted_out = current(trials), {}
    for rung, going_on in enumerate(kept):
        cells = [plan.cells, *kept][rung]
        ranked = plan.ranked(there, cells, rung)
        rank = {json.dumps(cell): number for number, cell in enumerate(ranked, 1)}
        for cell in cells:
            if cell not in going_on:
                place = f"rank {rank[json.dumps(cell)]}" if json.dumps(cell) in rank else "a seed failed, no rank"
                sorted_out[json.dumps([cell, rung])] = f"halving: {place} of {len(cells)}"
    for one in rows:
        reason = sorted_out.get(json.dumps([one["values"], one["rung"]]))
        if reason and one["state"] == "complete":
            one.update(state="pruned", reason=f"{reason} at step {one['end_step']}")
