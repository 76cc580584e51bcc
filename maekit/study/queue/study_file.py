"""Writes `study.json`: the whole study as plain values, for tables and reports that need no database."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from maekit.study.queue.plans import HalvingPlan, Kept, Plan, rung_steps
from maekit.study.queue.trials import current, spec_of
from maekit.study.saved import FORMAT, STUDY_FILE, Halving, SavedTrial
from maekit.system.files import write_json

State = Literal["complete", "pruned", "failed", "running", "waiting"]
_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def study_values(plan: Plan, shown_url: str, trials: Sequence[FrozenTrial], kept: Kept) -> dict[str, object]:
    """What `study.json` holds, except the time it was written.

    Args:
        plan: its trials' plan.
        shown_url: the database's URL without its password.
        trials: all trials; duplicates and trials that lost their worker are left out.
        kept: the cells that went on after each rung of halving.
    """
    saved = [saved_trial(trial) for trial in current(trials).values()]  # in the order they were first queued
    halving: Halving | None = None
    if isinstance(plan, HalvingPlan):
        _mark_pruned(plan, saved, trials, kept)
        of = plan.definition
        halving = {"rungs": rung_steps(of.max_steps, len(plan.cells), of.reduction), "kept": kept}
    return {
        "format": FORMAT,
        "definition": plan.definition.as_json(),
        "storage": shown_url,
        "trials": saved,
        "halving": halving,
    }


def study_file(only: int | None) -> str:
    """The whole study's file, or this array task's own: other tasks write theirs at the same time."""
    return STUDY_FILE if only is None else f"logs/trial-{only}.json"


def write_study(file: Path, values: Mapping[str, object]) -> None:
    """Writes the values and the time, atomically."""
    write_json(file, {**values, "updated": datetime.now(UTC).isoformat(timespec="seconds")})


def saved_trial(trial: FrozenTrial) -> SavedTrial:
    """One trial as plain values."""
    spec, attributes = spec_of(trial), trial.user_attrs
    result = attributes.get("result") or {}
    return {
        "number": trial.number,
        "values": spec.cell,
        "seed": spec.seed,
        "fold": spec.fold,
        "rung": spec.rung,
        "state": _STATES[trial.state],
        "value": trial.value if trial.state != TrialState.FAIL else None,
        "best": result.get("best"),
        "steps": result.get("steps"),
        "end_step": result.get("end_step"),
        "seconds": result.get("seconds"),
        "images_per_second": result.get("images_per_second"),
        "peak_memory_gib": result.get("peak_memory_gib"),
        "folder": attributes.get("folder"),
        "host": attributes.get("host"),
        "reason": attributes.get("reason"),
        "intermediate": attributes.get("curve")
        or {str(step): v for step, v in sorted(trial.intermediate_values.items())},
    }


def _mark_pruned(plan: HalvingPlan, saved: list[SavedTrial], trials: Sequence[FrozenTrial], kept: Kept) -> None:
    """Marks the trials of cells that halving gave up: the database has them as complete, because their value counts."""
    existing = current(trials)
    reasons: dict[str, str] = {}
    for rung, going_on in enumerate(kept):
        cells = [plan.cells, *kept][rung]
        rank = {json.dumps(cell): number for number, cell in enumerate(plan.ranked(existing, cells, rung), 1)}
        for cell in cells:
            if cell not in going_on:
                place = f"rank {rank[json.dumps(cell)]}" if json.dumps(cell) in rank else "a seed failed, no rank"
                reasons[json.dumps([cell, rung])] = f"halving: {place} of {len(cells)}"
    for one in saved:
        reason = reasons.get(json.dumps([one["values"], one["rung"]]))
        if reason and one["state"] == "complete":
            one["state"], one["reason"] = "pruned", f"{reason} at step {one['end_step']}"
