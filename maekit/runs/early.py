"""Why a finished run ended before its last step: its metric had not improved for a number of validations."""

from collections.abc import Mapping
from typing import NamedTuple

from maekit.system.numbers import number, plural
from maekit.system.plain import JSON, finite_number, table


class EarlyStop(NamedTuple):
    """The entry `early_stop` of `metrics.json`.

    Attributes:
        patience: `--run.patience` of the run.
        min_delta: by how much a value had to be better, in the metric's unit.
        validations: how many came after the last improvement.
        metric: its log key, such as `val/top1`.
        value: the last improvement; None if no value was finite.
        step: the optimizer step at which it was measured.
    """

    patience: int
    min_delta: float
    validations: int
    metric: str
    value: float | None
    step: int

    def words(self) -> str:
        """Returns the reason as a part of a sentence."""
        name = self.metric.removeprefix("val/")
        passed = f"in {plural(self.validations, 'validation')} (run.patience {self.patience})"
        if self.value is None:
            return f"no finite {name} {passed}"
        least = f" by more than {number(self.min_delta)}" if self.min_delta else ""
        return f"{name} has not improved on {number(self.value)} of step {self.step:,}{least} {passed}"


def early_stop_of(metrics: Mapping[str, JSON]) -> EarlyStop | None:
    """Returns the entry of a run's `metrics.json`; None where the run did not end early, or it is damaged."""
    found = table(metrics.get("early_stop"))
    numbers = [finite_number(found.get(key)) for key in ("patience", "validations", "min_delta", "step")]
    if any(value is None for value in numbers):
        return None
    patience, validations, least, step = (float(value or 0) for value in numbers)
    value, metric = finite_number(found.get("value")), str(found.get("metric"))
    return EarlyStop(int(patience), least, int(validations), metric, value, int(step))
