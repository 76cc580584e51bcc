"""Decides whether a run's training losses are compiled: as asked, or by which way was faster in the run's own steps."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from maekit.system.terminal import say
from maekit.training.run_module import RunModule, callbacks_of, run_module

Losses = Callable[[Any], dict[str, Tensor]]
WARM, TIMED = 5, 10  # optimizer steps of each way: not timed (compilation, cuDNN's choices, caches), and timed
WORTH_STEPS = 1000  # compiling takes a minute or so, which a shorter run does not win back
MARGIN = 0.97  # compiled steps must be at least this much faster: less is within the noise
TURN_ON = "--run.compile true turns it on"


@dataclass(frozen=True)
class Choice:
    """Whether losses are compiled: always, never, or by a measurement in the run; why, in words; whether that is said.

    Attributes:
        mode: on, off, or measured.
        why: the reason, for the run's first lines.
        shown: whether a line is printed.
    """

    mode: Literal["on", "off", "measured"]
    why: str
    shown: bool = True

    def line(self, what: str) -> str:
        """Returns the choice in words; `what` is what would be compiled."""
        return {"on": f"on: {what}, in the first step", "off": "off", "measured": "auto"}[self.mode] + f" ({self.why})"


def set_up(
    module: RunModule, trainer: Trainer, flag: bool | Literal["auto"], steps_left: int, *, given: bool
) -> Choice:
    """Compiles a run's training losses, or has its first steps decide that, and prints which and why on the first rank.

    Args:
        module: of the run; its `losses` are replaced.
        trainer: of the run, before its fit.
        flag: `--run.compile`.
        steps_left: optimizer steps that the run has to make.
        given: whether the flag was given; on a CPU, where auto is off, nothing is said otherwise.
    """
    choice = choose(flag, trainer, steps_left, given=given)
    if choice.mode == "on":
        module.losses = compiled_losses(module)
    elif choice.mode == "measured":
        callbacks_of(trainer).insert(0, MeasuredChoice(lambda: compiled_losses(module), CudaClock()))
    if choice.shown and trainer.is_global_zero:
        say(f"compile {choice.line(module.model.compiled)}")
    return choice


def compiled_losses(module: RunModule) -> Losses:
    """Returns the compiled losses of a run's model; what earlier runs of this process compiled is dropped."""
    torch.compiler.reset()  # else every further run of a process is one more variant, of which torch keeps eight
    return module.model.compile_losses()


def choose(flag: bool | Literal["auto"], trainer: Trainer, steps_left: int, *, given: bool) -> Choice:
    """Returns what `--run.compile` means for a run; the arguments are those of `set_up`.

    Args:
        flag: `--run.compile`.
        trainer: of the run.
        steps_left: optimizer steps that it has to make.
        given: whether the flag was given.
    """
    kind = trainer.strategy.root_device.type
    if flag is True:
        return Choice("on", "--run.compile true")
    if flag is False:
        return Choice("off", "--run.compile false", shown=kind != "cpu" or given)
    if kind == "cpu":
        return Choice("off", f"auto measures on CUDA devices only, and this is a CPU; {TURN_ON}", shown=given)
    if kind != "cuda":
        return Choice("off", f"no measurement for {kind}, auto measures on CUDA devices only; {TURN_ON}")
    if torch.are_deterministic_algorithms_enabled():
        return Choice("off", f"--trainer.deterministic, and auto would decide by a measurement; {TURN_ON}")
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        return Choice("off", f"not measured under {type(trainer.strategy).__name__}; {TURN_ON}")
    if steps_left < WORTH_STEPS:
        return Choice("off", f"{steps_left} steps are left, and compiling pays from {WORTH_STEPS}; {TURN_ON}")
    return Choice("measured", f"{TIMED} steps are timed eagerly, then {TIMED} compiled; the faster way is kept")


class Clock(Protocol):
    """A stopwatch for a device that works asynchronously."""

    def mark(self) -> Any:
        """Returns a mark at the end of the work given so far, without waiting for it."""

    def seconds(self, start: Any, end: Any) -> float:
        """Waits for the second mark, and returns the seconds between the two."""


class CudaClock:
    """Marks are events in the current stream."""

    def mark(self) -> torch.cuda.Event:
        """Records an event."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Waits for `end`."""
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000


class HostClock:
    """Marks are the host's time, for devices that are done when a call returns."""

    def mark(self) -> float:
        """Returns the time now."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """Returns the difference."""
        return end - start


@dataclass
class Timings:
    """Marks around the device batches of each timed optimizer step, eagerly and compiled."""

    eager: list[list[tuple[Any, Any]]] = field(default_factory=list)
    compiled: list[list[tuple[Any, Any]]] = field(default_factory=list)

    def median(self, clock: Clock, steps: list[list[tuple[Any, Any]]]) -> float:
        """Returns the median seconds of a step; infinity if none was timed."""
        spent = [sum(clock.seconds(start, end) for start, end in step) for step in steps]
        return statistics.median(spent) if spent else float("inf")


class MeasuredChoice(Callback):
    """Makes a run's first steps eagerly, the next ones compiled, and all others by the way that was faster.

    These are steps that the run makes anyway: weights, generators and counters are those of any run, and accumulation,
    DDP, precision and the optimizer are measured as they are. Time is the device's from a batch's arrival to the end
    of its step, so a slow loader favours neither way. The host waits for the device once, at the decision, and every
    process decides the same. Where compilation fails, the run goes on eagerly.

    Args:
        make: returns the losses that compile themselves when they are first called.
        clock: the device's.
        warm: optimizer steps of each way that are not timed.
        timed: optimizer steps of each way that are.
    """

    def __init__(self, make: Callable[[], Losses], clock: Clock, *, warm: int = WARM, timed: int = TIMED) -> None:
        self._make, self._clock, self._warm, self._each = make, clock, warm, warm + timed
        self._timings = Timings()
        self._first: int | None = None  # the optimizer step at which this session began
        self._start: Any = None
        self._eager: Losses | None = None
        self._failure: str | None = None
        self._done = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Compiles when the eager steps are timed, and marks the beginning of a timed batch."""
        module = run_module(pl_module)
        self._first = trainer.global_step if self._first is None else self._first
        made, starts = trainer.global_step - self._first, batch_idx % module.plan.accumulation == 0
        if self._done:
            return
        if made == self._each and starts:
            self._compile(module)
        steps = self._steps(made)
        if steps is None:
            return
        if starts:
            steps.append([])
        if steps:
            self._start = self._clock.mark()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Marks the end of a timed batch; after the last one, decides."""
        if self._done:
            return
        assert self._first is not None
        module = run_module(pl_module)
        ends = (batch_idx + 1) % module.plan.accumulation == 0
        made = trainer.global_step - self._first
        steps = self._steps(made - int(ends))
        if steps:
            steps[-1].append((self._start, self._clock.mark()))
        if made == 2 * self._each and ends:
            self._decide(trainer, module)

    def _steps(self, made: int) -> list[list[tuple[Any, Any]]] | None:
        """Returns where the step after `made` steps is timed; None if it is not."""
        part, within = divmod(made, self._each)
        if within < self._warm or part > 1:
            return None
        return self._timings.compiled if part else self._timings.eager

    def _compile(self, module: RunModule) -> None:
        self._eager, compiled = module.losses, self._make()

        def losses(batch: Any) -> dict[str, Tensor]:
            if self._failure is not None:
                return eager(batch)
            try:
                return compiled(batch)
            except RuntimeError as error:
                self._failure = compile_failure(error)
                if self._failure is None:
                    raise
                return eager(batch)

        eager = self._eager
        module.losses = losses

    def _decide(self, trainer: Trainer, module: RunModule) -> None:
        """Keeps the faster way on every process, and says so on the first."""
        assert self._eager is not None
        eager = self._timings.median(self._clock, self._timings.eager)
        compiled = self._timings.median(self._clock, self._timings.compiled)
        seconds = torch.tensor([eager, compiled, float(self._failure is not None)], device=module.device)
        eager, compiled, failed = trainer.strategy.reduce(seconds, reduce_op="mean").tolist()
        self._done, self._timings = True, Timings()
        on = compiled < MARGIN * eager and not failed
        if not on:
            module.losses = self._eager
        measured = f"{1000 * compiled:.1f} ms a step compiled, {1000 * eager:.1f} ms eagerly"
        why = f"compilation failed: {self._failure or 'on another process'}" if failed else measured
        if trainer.is_global_zero:
            say(f"compile {'on' if on else 'off'} from step {trainer.global_step} ({why})")


def compile_failure(error: Exception) -> str | None:
    """Returns why torch could not compile, in one line; None for any other error."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import, and has been if torch compiled

    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    if not isinstance(error, TorchDynamoException) and not out_of_memory:
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
