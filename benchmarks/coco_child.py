"""One step of one side alone in its process: seconds, memory and what came out. Started by coco_step.py (Linux).

    python benchmarks/coco_child.py backbone maekit --weights FILE --outputs FILE    # prints JSON

Memory is what the kernel counts as resident over what was after the imports; glibc may keep a little of what was freed.
"""

import argparse
import importlib
import json
import time
import warnings
from pathlib import Path

import torch
from ade20k_memory import resident
from coco_batch import make_batch
from coco_sides import SIDES, Part

IMPORTS = {
    "maekit": ["maekit.detection.model"],
    "detectron2": ["maekit.detection.model", "detectron2.modeling.backbone.vit"],
    "torchvision": ["maekit.detection.model", "coco_torchvision"],
}


def step(part: Part, precision: str) -> dict[str, float]:
    """Forward and backward; the clock's seconds, and the process's on all its threads."""
    part.model.zero_grad()
    clock, work = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = part.loss()
    forward = time.process_time() - work
    loss.backward()  # type: ignore[no-untyped-call]
    return {"clock": time.perf_counter() - clock, "work": time.process_time() - work, "forward_work": forward}


def outputs(part: Part) -> dict[str, torch.Tensor]:
    """What came out; of the backbone also the gradient of its first layer, in which all others have a part."""
    found = {name: tensor.detach().float() for name, tensor in part.outputs.items()}
    for name, tensor in part.model.named_parameters():
        if name.endswith("patch_embed.proj.weight") and tensor.grad is not None:
            found["gradient of the first layer"] = tensor.grad
    return found


def measure(args: argparse.Namespace) -> dict[str, float]:
    """The last of `--warmup` + 1 steps; of memory the most of all of them."""
    torch.manual_seed(0)
    batch = make_batch(args.batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in IMPORTS[args.side]:
            importlib.import_module(name)
    floor = resident("VmRSS")
    part = SIDES[args.part][args.side](torch.load(args.weights, mmap=True), batch)
    kept = resident("VmRSS") - floor
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    for _ in range(args.warmup + 1):
        torch.manual_seed(0)
        found = step(part, args.precision)
    found |= {"model": kept, "peak": resident("VmHWM") - floor, "imports": floor}
    torch.save(outputs(part), args.outputs)
    return {name: round(value, 3) for name, value in found.items()}


def profile(args: argparse.Namespace) -> str:
    """Where a step spends its time, by operator."""
    part = SIDES[args.part][args.side](torch.load(args.weights, mmap=True), make_batch(args.batch))
    with torch.profiler.profile() as profiler:
        step(part, args.precision)
    return str(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(SIDES))
    parser.add_argument("side", choices=list(IMPORTS))
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="fp32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=0)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(profile(args) if args.profile else json.dumps(measure(args)))


if __name__ == "__main__":
    main()
