"""How many runs a study trains at once, and on which devices. Torch is imported only to count accelerators."""

import os
from dataclasses import dataclass, field

from maekit.errors import UserError
from maekit.system.numbers import plural

_FORMS = "expected a number of runs at once, cpu:N, or the accelerators' numbers as cuda:0,1"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        name: such as `cuda:1`, `cpu 2` or `this machine`.
        env: variables added to the environment of its runs.
    """

    name: str
    env: dict[str, str] = field(default_factory=dict)


def slots(spec: str) -> list[Slot]:
    """Parses `--parallel`.

    `1` trains one run at a time as `maekit fit` would, on the devices that it chooses. A larger number gives each run
    its own accelerator or, on a machine without any, an equal share of the CPU's cores. Two runs share an accelerator
    that is listed twice.

    Args:
        spec: `1`, `2`, `cpu:2` or `cuda:0,1,3`.

    Raises:
        UserError: another form, or more runs than accelerators.
    """
    kind, _, numbers = spec.partition(":")
    if spec.isdecimal() and int(spec) == 1:
        return [Slot("this machine")]
    if spec.isdecimal() and int(spec) > 1:
        return _spread(int(spec))
    if kind == "cpu" and (numbers or "1").isdecimal() and int(numbers or "1") > 0:
        return _on_cpu(int(numbers or "1"))
    if kind == "cuda" and all(number.isdecimal() for number in numbers.split(",")):
        return _on_cuda([int(number) for number in numbers.split(",")])
    raise UserError(f"--parallel: got '{spec}', {_FORMS}")


def _spread(count: int) -> list[Slot]:
    found = _num_accelerators()
    if found == 0:
        return _on_cpu(count)
    if count > found:
        shared = ",".join(str(i % found) for i in range(count))
        raise UserError(
            f"--parallel: got {count}, but this machine has {plural(found, 'accelerator')}; "
            f"use --parallel {found}, or let runs share one: --parallel cuda:{shared}"
        )
    return _on_cuda(list(range(count)))


def _on_cpu(count: int) -> list[Slot]:
    env = {_VISIBLE: ""}
    if "OMP_NUM_THREADS" not in os.environ:
        env["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // count, 1))
    return [Slot(f"cpu {number + 1}", dict(env)) for number in range(count)]


def _on_cuda(numbers: list[int]) -> list[Slot]:
    """One accelerator for each run; numbers index those that this process sees."""
    visible = [name for name in os.environ.get(_VISIBLE, "").split(",") if name]
    count = _num_accelerators()
    for number in numbers:
        if number >= count:
            has = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            raise UserError(f"--parallel: got cuda:{number}, but this machine has {has}; or use --parallel cpu:1")
    return [Slot(f"cuda:{number}", {_VISIBLE: visible[number] if visible else str(number)}) for number in numbers]


def _num_accelerators() -> int:
    import torch

    return torch.cuda.device_count()
