"""Fills the table of a GPU: every task's training step, eager and compiled, in both memory formats, beside its peers.

    python benchmarks/gpu_table.py                                # all tasks, Base, Large and Huge; Markdown and JSON
    python benchmarks/gpu_table.py --sizes huge --tasks imagenet_finetune
    python benchmarks/gpu_table.py --rehearse                     # the same on a CPU at smoke size: does it run?

bf16 autocast, images as large as the recipe's, `--batch` of them a step. Of each task and size the sides take turns in
one process: maekit eagerly, compiled, and where it has convolutions both with maps channels last; timm, transformers,
mmsegmentation and detectron2, where they are installed, eagerly. Share of peak: operations of maekit's step as torch's
counter knows them (forward and backward; recomputed blocks count), by the faster time and by what the card's data sheet
says of dense 16-bit products. Memory: torch's largest allocation in maekit's first two steps, before any peer is built,
beside `maekit plan`'s. Where fine-tuning of ViT-H stays below 55 % of peak, a profile by kernel says why.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from all_sides import DETECTOR, TASKS, Case, Step, case_of, compiled_step, free, maekit_step
from all_tasks import peers_of
from turns import arithmetic, by_turns, markdown, peak_arithmetic, wait

from maekit.base.memory_format import MapModule

BATCH = {"ade20k_upernet": 4, "ade20k_linear": 4, "coco_maskrcnn": 2}
AIM = 0.55  # of peak, of fine-tuning ViT-H


def in_format(step: Step, memory_format: torch.memory_format) -> Callable[[], None]:
    """The step with its maps in a memory format."""
    parts = [part for part in step.model.modules() if isinstance(part, MapModule)]

    def run() -> None:
        for part in parts:
            part.memory_format = memory_format
        step()

    return run


def variants(step: Step, backend: str) -> dict[str, Callable[[], None]]:
    """maekit's step, eager and compiled, channel by channel and where it has convolutions channels last."""
    compiled = compiled_step(step, backend=backend)
    found = {
        "eager": in_format(step, torch.contiguous_format),
        "compiled": in_format(compiled, torch.contiguous_format),
    }
    if any(isinstance(part, MapModule) for part in step.model.modules()):
        found["eager, channels last"] = in_format(step, torch.channels_last)
        found["compiled, channels last"] = in_format(compiled, torch.channels_last)
    return found


def peak_gib(step: Step, device: str) -> float | None:
    """Largest allocation of two steps in GiB, the second of which has the optimizer's state; None on a CPU."""
    if device == "cpu":
        step()
        return None
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        step()
    wait(device)
    return torch.cuda.max_memory_allocated() / 2**30


def planned_gib(case: Case) -> float | None:
    """What `maekit plan` predicts for one device, in GiB, without its allowance; None where it gives no answer."""
    devices = "1x80GiB" if case.device == "cpu" else "auto"
    words = ["plan", "--task", case.task, "--recipe", case.recipe, "--devices", devices, "--json"]
    flags = [f"--data.device_batch_size={case.batch}", "--model.weights=none"]
    done = subprocess.run(
        [sys.executable, "-m", "maekit", *words, *flags], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        print(f"  maekit {' '.join(words)}: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return None
    recompute = bool(case.values()["model"].get("gradient_checkpointing"))
    return predicted(json.loads(done.stdout), case.batch, recompute=recompute)


def predicted(answer: dict[str, Any], batch: int, *, recompute: bool) -> float | None:
    """Of a plan's settings the memory of those that were measured: this device batch on one device."""
    for choice in answer["settings"]:
        found = (choice["strategy"], choice["batch"]["device_batch"], choice["recompute"])
        if found == ("one", batch, recompute):
            return float(choice["total_bytes"] - choice["memory"]["allowance"]) / 2**30
    return None


def profile(step: Step, device: str) -> str:
    """The kernels of one step that take the longest."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device != "cpu":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        step()
        wait(device)
    key = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    return str(profiler.key_averages().table(sort_by=key, row_limit=15, max_name_column_width=80))


def measure(case: Case, args: argparse.Namespace, peak: float) -> dict[str, Any]:
    """One row: all sides of a task at one size."""
    print(f"{case}", file=sys.stderr, flush=True)
    row: dict[str, Any] = {**asdict(case), "planned_gib": planned_gib(case)}
    try:
        own = maekit_step(case)
        row["peak_gib"] = peak_gib(own, case.device)
        row["operations"] = arithmetic(own)
        steps: dict[str, Callable[[], None]] = dict(variants(own, args.backend))
        steps |= {name: build(case) for name, build in peers_of(case.task).items()}
        if case.task == "coco_maskrcnn":
            steps |= {f"{name}'s detector": build(case) for name, build in DETECTOR.items()}
    except torch.OutOfMemoryError as error:
        return {**row, "error": str(error).splitlines()[0][:90]}
    row["sides"] = by_turns(steps, case.device, args.rounds, args.warmup)
    seconds = [one["clock"] for name, one in row["sides"].items() if name in ("eager", "compiled") and "clock" in one]
    row["share_of_peak"] = row["operations"] / min(seconds) / peak if seconds else None
    below = row["share_of_peak"] is not None and row["share_of_peak"] < AIM
    if case.task == "imagenet_finetune" and (case.recipe == "huge" or args.rehearse) and below:
        row["profile"] = profile(own, case.device)
    del own, steps
    free()
    return row


def cell(one: dict[str, Any] | None) -> str:
    """Milliseconds of a side, or why there are none."""
    if one is None:
        return ""
    return f"{1000 * one['clock']:.1f}" if "clock" in one else one["error"][:40]


def tables(rows: list[dict[str, Any]]) -> str:
    """Two tables, of times and of memory, and profiles where they were made."""
    sides = ["eager", "compiled", "eager, channels last", "compiled, channels last"]
    times, memory = [], []
    for row in rows:
        name = [row["task"], row["recipe"], f"{row['batch']} x {row['side']} px"]
        if "error" in row:
            times.append([*name, row["error"], *[""] * (len(sides) + 1)])
            continue
        found = row["sides"]
        others = "; ".join(f"{side} {cell(one)}" for side, one in found.items() if side not in sides)
        share = "" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f} %"
        times.append([*name, *(cell(found.get(side)) for side in sides), others, share])
        memory.append([*name, *("" if row[key] is None else f"{row[key]:.2f}" for key in ("peak_gib", "planned_gib"))])
    first = ["task", "size", "images"]
    text = markdown([*first, *(f"{side}, ms" for side in sides), "others, ms", "share of peak"], times)
    text += "\n\n" + markdown([*first, "largest allocation, GiB", "`maekit plan`, GiB"], memory)
    for row in rows:
        if "profile" in row:
            text += f"\n\n{row['task']} {row['recipe']}, by kernel:\n\n```\n{row['profile']}\n```"
    return text


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--sizes", nargs="+", choices=["smoke", "base", "large", "huge"])
    parser.add_argument("--batch", type=int, help="images a step: 32, of segmentation 4, of detection 2")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--warmup", type=int)
    parser.add_argument("--cudnn_benchmark", action="store_true", help="let cuDNN choose convolutions by timing them")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at smoke size, traced but not compiled")
    parser.add_argument("--output", type=Path, default=Path("gpu_table"), help="of OUTPUT.md and OUTPUT.json")
    args = parser.parse_args()
    if not args.rehearse and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --rehearse runs the same on the CPU at smoke size")
    chosen = {"sizes": ["smoke"], "rounds": 1, "warmup": 0, "batch": 2}
    measured = {"sizes": ["base", "large", "huge"], "rounds": 10, "warmup": 5, "batch": None}
    for name, value in (chosen if args.rehearse else measured).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.device, args.backend = ("cpu", "eager") if args.rehearse else ("cuda", "inductor")
    return args


def main() -> None:
    args = arguments()
    torch.backends.cudnn.benchmark = args.cudnn_benchmark
    peak, source = peak_arithmetic(args.device)
    name = "CPU, a rehearsal: no figure here is of a GPU" if args.rehearse else torch.cuda.get_device_name()
    about = f"{name}; torch {torch.__version__}; bf16; peak {peak / 1e12:.3g} TFLOPS ({source}); {args.rounds} rounds"
    rows: list[dict[str, Any]] = []
    for task in args.tasks:
        for size in args.sizes:
            batch = args.batch or BATCH.get(task, 32)
            case = case_of(task, size, args.device, reduced=False, batch=batch)
            rows.append(measure(replace(case, precision="bf16"), args, peak))
            args.output.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
            args.output.with_suffix(".md").write_text(f"{about}\n\n{tables(rows)}\n", encoding="utf-8")
    print(f"{about}\n\n{tables(rows)}")


if __name__ == "__main__":
    main()
