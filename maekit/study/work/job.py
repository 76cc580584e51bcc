"""A trial that this worker runs: its process, and what is to be told of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from maekit.runs.reached import Reached, curve, last_step, reached
from maekit.study.define.definition import Definition
from maekit.study.define.space import flags_of
from maekit.study.queue.pruning import Plan
from maekit.study.queue.trials import Leg
from maekit.study.work.process import Ended, Process, stopped_step


@dataclass(eq=False)
class Job:
    """A trial that this worker runs.

    Attributes:
        trial: as it was when it was claimed.
        leg: what it does.
        process: its run.
        plan: the study's.
        start: the step and the seconds that its run had when the leg began.
        mark: of the run's checkpoint when it was last started.
        attempts: how often it was killed since it last got further.
        told: steps whose metric the database has.
        prune: why the run was told to stop before its end.
        waiting: it waits for another process to leave its folder.
        lost: another worker has taken the trial.
    """

    trial: FrozenTrial
    leg: Leg
    process: Process
    plan: Plan
    start: dict[str, float]
    mark: str = ""
    attempts: int = 0
    told: set[int] = field(default_factory=set)
    prune: str = ""
    waiting: bool = False
    lost: bool = False

    def reached(self) -> Reached | None:
        """The result, where the run has come as far as it was to go."""
        return reached(self.process.folder, self.plan.stop(self.leg), self.plan.definition.metric)

    def curve(self) -> dict[int, float]:
        """Step -> metric of this leg's validations."""
        rows, end = curve(self.process.folder, self.plan.definition.metric), self.plan.stop(self.leg)
        return {step: value for step, value in rows if step > self.start["step"] and (end is None or step <= end)}

    def new_values(self) -> dict[int, float]:
        """Those that were not told yet."""
        return {step: value for step, value in self.curve().items() if step not in self.told}

    def verdict(self, ended: Ended) -> tuple[TrialState, float | None, dict[str, Any], str]:
        """How the leg ended.

        Returns:
            The trial's state, its value, what is kept with it, and a line for the terminal.
        """
        found, metric = self.reached(), self.plan.definition.metric
        values = self.curve()
        notes: dict[str, Any] = {"result": self._result(found), "curve": values}  # in one word: a commit takes its time
        if found is not None and found.value is not None:
            line = f"done    {self.leg.name}: {metric} {found.value:.4g} at step {found.step}"
            return TrialState.COMPLETE, found.value, notes, line
        if self.prune:
            last = values[max(values)] if values else None
            return TrialState.PRUNED, last, {"reason": self.prune, **notes}, f"pruned  {self.leg.name}: {self.prune}"
        reason = ended.reason or "ended in order, but without a result in metrics.json"
        reason = f"{metric} is NaN" if found is not None else reason
        return TrialState.FAIL, None, {"reason": reason, **notes}, f"failed  {self.leg.name}: {reason}"

    def _result(self, found: Reached | None) -> dict[str, float | int | None]:
        """What the leg cost; of one that failed, as far as its folder tells."""
        begin = int(self.start["step"])
        if found is None:
            end = stopped_step(self.process.log) or last_step(self.process.folder)
            return {"end_step": end, "steps": max(end - begin, 0)}
        return {
            "end_step": found.step,
            "steps": max(found.step - begin, 0),
            "seconds": round(max(found.seconds - self.start["seconds"], 0.0), 1),
            "best": found.best,
            "images_per_second": found.images_per_second,
            "peak_memory_gib": found.peak_memory_gib,
        }


def run_folder(study: Path, definition: Definition, leg: Leg) -> Path:
    """Where a leg's run is kept: the same for all of the run's legs, on every machine."""
    return study / "runs" / Path(definition.task).stem / definition.recipe / leg.name


def fit_flags(study: Path, plan: Plan, leg: Leg) -> list[str]:
    """The flags of `maekit fit` by which a leg's run is begun or gone on with."""
    of, stop = plan.definition, plan.stop(leg)
    return [
        *("--task", of.task, "--recipe", of.recipe),
        *(word for file in of.config for word in ("--config", file)),
        *of.flags,
        *flags_of(leg.cell, leg.seed),
        f"--run.folder={study / 'runs'}",
        f"--run.name={leg.name}",
        *([f"--run.stop_at_step={stop}"] if stop is not None else []),
    ]
