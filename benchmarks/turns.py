"""Times training steps by turns, counts their arithmetic, and writes tables."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from all_sides import Case, Step, free, maekit_step
from torch.utils.flop_counter import FlopCounterMode

# Dense 16-bit products on tensor cores, in 1e12 operations a second, by NVIDIA's data sheets.
PEAKS = {
    "H200": 989, "H100 PCIe": 756, "H100": 989, "GH200": 989, "B200": 2250, "A100": 312, "A40": 150, "A10G": 70,
    "A10": 125, "L40S": 362, "L40": 181, "L4": 121, "RTX 4090": 165, "RTX 3090": 71, "V100": 125, "T4": 65,
}  # fmt: skip


def wait(device: str) -> None:
    """Waits for a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def by_turns(steps: Mapping[str, Callable[[], None]], device: str, rounds: int, warmup: int) -> dict[str, Any]:
    """Median seconds of each side, by the clock and of the process's work; each round begins with another side.

    `each` are those of every round. A side that fails (out of memory, an operator that is missing) drops out, with the
    first line of its error.
    """
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    errors: dict[str, str] = {}
    for turn in range(warmup + rounds):
        names = [name for name in steps if name not in errors]
        for name in names[turn % max(len(names), 1) :] + names[: turn % max(len(names), 1)]:
            wait(device)
            clock, work = time.perf_counter(), time.process_time()
            try:
                steps[name]()
                wait(device)
            except (RuntimeError, NotImplementedError) as error:
                errors[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:90]}"
                free()
                continue
            seen[name].append((time.perf_counter() - clock, time.process_time() - work))
            print(f"  {name}: {seen[name][-1][0]:.3f} s", file=sys.stderr, flush=True)
    found: dict[str, Any] = {name: {"error": error} for name, error in errors.items()}
    for name, times in seen.items():
        if name not in errors:
            clock, work = (statistics.median(one[i] for one in times[warmup:]) for i in (0, 1))
            found[name] = {"clock": clock, "work": work, "each": times[warmup:]}
    return found


def fastest_precision(case: Case, device: str) -> tuple[str, dict[str, float]]:
    """The precision in which maekit's own step is faster, by one step of each after one that is not timed."""
    seconds = {}
    for precision in ("bf16", "fp32"):
        step = maekit_step(replace(case, precision=precision))
        found = by_turns({precision: step}, device, rounds=1, warmup=1)[precision]
        seconds[precision] = found.get("clock", float("inf"))
        del step
        free()
    return min(seconds, key=lambda name: seconds[name]), seconds


def arithmetic(step: Step) -> int:
    """Floating-point operations of one step, forward and backward, as torch's counter knows them (a product is two)."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def peak_arithmetic(device: str) -> tuple[float, str]:
    """Operations a second that the device could do in 16 bit, and where the number is from."""
    if device != "cpu":
        name = torch.cuda.get_device_name()
        for key, tera in PEAKS.items():
            if key in name:
                return tera * 1e12, f"data sheet of {key}"
    side = 8192 if device != "cpu" else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if device != "cpu" else torch.float32)
    times = []
    for _ in range(4):
        wait(device)
        began = time.perf_counter()
        torch.mm(a, a)
        wait(device)
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times), f"measured, a product of {side} x {side}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
