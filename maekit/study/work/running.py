"""A trial that this worker runs: its process, what it has reached, and what is reported of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from maekit.runs.reached import Reached, curve, last_step, reached
from maekit.study.define.space import flags_of
from maekit.study.queue.plans import Plan
from maekit.study.queue.trials import TrialSpec
from maekit.study.work.process import Ended, Process, stopped_step


class Outcome(NamedTuple):
    """How a trial ended.

    Attributes:
        state: complete, pruned or failed.
        value: the metric; None for a failed trial.
        attributes: saved with the trial.
        line: for the terminal.
    """

    state: TrialState
    value: float | None
    attributes: Mapping[str, object]
    line: str


@dataclass(eq=False)
class RunningTrial:
    """A trial that this worker runs.

    Attributes:
        trial: as it was when it was claimed.
        spec: what it does.
        process: its run.
        plan: the study's.
        start: the run's `step` and `seconds` when the trial began.
        last_save: the run's last save when it was last started.
        num_kills: how often it was killed since it last saved.
        reported: steps whose metric is in the database.
        prune: why the run was told to stop early; empty if it was not.
        waiting: another process is still in its folder.
        taken: another worker has the trial now.
    """

    trial: FrozenTrial
    spec: TrialSpec
    process: Process
    plan: Plan
    start: Mapping[str, float]
    last_save: int = 0
    num_kills: int = 0
    reported: set[int] = field(default_factory=set)
    prune: str = ""
    waiting: bool = False
    taken: bool = False

    def reached(self) -> Reached | None:
        """The run's result; None until it has trained to the trial's last step."""
        return reached(self.process.folder, self.plan.stop_step(self.spec), self.plan.definition.metric)

    def curve(self) -> dict[int, float]:
        """Step -> metric at this trial's validations so far."""
        rows, stop = curve(self.process.folder, self.plan.definition.metric), self.plan.stop_step(self.spec)
        return {step: value for step, value in rows if step > self.start["step"] and (stop is None or step <= stop)}

    def outcome(self, ended: Ended) -> Outcome:
        """What is reported of the trial, given how its process ended."""
        result, metric, values = self.reached(), self.plan.definition.metric, self.curve()
        saved = {"result": self._result(result), "curve": values}  # one write: commits are slow
        if result is not None and result.value is not None:
            line = f"done    {self.spec.run_name}: {metric} {result.value:.4g} at step {result.step}"
            return Outcome(TrialState.COMPLETE, result.value, saved, line)
        if self.prune:
            last = values[max(values)] if values else None
            line = f"pruned  {self.spec.run_name}: {self.prune}"
            return Outcome(TrialState.PRUNED, last, {"reason": self.prune, **saved}, line)
        reason = ended.reason or "ended in order, but without a result in metrics.json"
        reason = f"{metric} is NaN" if result is not None else reason
        line = f"failed  {self.spec.run_name}: {reason}"
        return Outcome(TrialState.FAIL, None, {"reason": reason, **saved}, line)

    def _result(self, result: Reached | None) -> dict[str, float | None]:
        """What the trial cost; of a failed one only the steps, from its log or its tables."""
        start = int(self.start["step"])
        if result is None:
            end = stopped_step(self.process.log) or last_step(self.process.folder)
            return {"end_step": end, "steps": max(end - start, 0)}
        return {
            "end_step": result.step,
            "steps": max(result.step - start, 0),
            "seconds": round(max(result.seconds - self.start["seconds"], 0.0), 1),
            "best": result.best,
            "images_per_second": result.images_per_second,
            "peak_memory_gib": result.peak_memory_gib,
        }


def run_folder(study_folder: Path, plan: Plan, spec: TrialSpec) -> Path:
    """The folder of a run: the same for all of its rungs, on every machine."""
    of = plan.definition
    return study_folder / "runs" / Path(of.task).stem / of.recipe / spec.run_name


def fit_flags(study_folder: Path, plan: Plan, spec: TrialSpec) -> list[str]:
    """The flags of `maekit fit` that train a trial."""
    of, stop = plan.definition, plan.stop_step(spec)
    return [
        *("--task", of.task, "--recipe", of.recipe),
        *(word for file in of.config for word in ("--config", file)),
        *of.flags,
        *flags_of(spec.cell, spec.seed, spec.fold),
        f"--run.folder={study_folder / 'runs'}",
        f"--run.name={spec.run_name}",
        *([f"--run.stop_at_step={stop}"] if stop is not None else []),
    ]
