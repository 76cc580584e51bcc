"""One training step of ADE20K's recipes at 512 px, or COCO's at 1024, on a CPU: does it fit, and how long does it take?

    python benchmarks/large_steps.py huge                  # of ade20k_upernet; or base, large; prints JSON
    python benchmarks/large_steps.py coco_maskrcnn huge    # the same of COCO's

Noise in fp32 with random weights, two images of ADE20K's or one of COCO's with 20 objects, the recipe's model, losses
and optimizer, blocks recomputed in the backward pass (but not in COCO's Base), no drop path: it would only make the
step smaller. Fails where a loss or gradient is not finite, a parameter has no gradient, or the optimizer leaves one as
it was. Memory is the process's largest (ru_maxrss).
"""

import argparse
import json
import resource
import time
import zlib
from pathlib import Path
from typing import Any

import coco_batch
import torch
from torch import nn

from maekit.base.spec import DataSpec
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.segmentation.data.dataset import SegBatch

NEEDED_GB = {  # a little over what was seen
    "ade20k_upernet": {"base": 6, "large": 11, "huge": 18},
    "coco_maskrcnn": {"base": 8, "large": 9, "huge": 14},
}
SIDES = {"ade20k_upernet": 512, "coco_maskrcnn": coco_batch.SIDE}
CLASSES = {"ade20k_upernet": 150, "coco_maskrcnn": coco_batch.CLASSES}


def build(task_name: str, recipe: str) -> tuple[Any, torch.optim.Optimizer]:
    """The recipe's model for as many classes as its data has, and its optimizer."""
    task, side = find_task(task_name), SIDES[task_name]
    stacked, module = load_recipe(task, recipe), task.load()
    recompute = task_name == "ade20k_upernet" or recipe != "base"
    flags = ["--model.weights=none", f"--model.gradient_checkpointing={str(recompute).lower()}", "--model.drop_path=0"]
    values = resolve(stacked, module, flags, training=False).values
    model = module.Model.build(
        DataSpec(tuple(map(str, range(CLASSES[task_name]))), (side, side)), values["model"]
    ).train()
    return model, Optimisation(**values["optim"]).make_optimizer(
        model, model.backbone, values["data"]["total_batch_size"]
    )


def make_batch(task_name: str) -> Any:
    """Two images with a label for each pixel, or one with objects."""
    if task_name == "coco_maskrcnn":
        return coco_batch.make_batch(1)
    side = SIDES[task_name]
    labels = torch.randint(CLASSES[task_name], (2, side, side))
    return SegBatch(torch.randn(2, 3, side, side), labels, torch.arange(2))


def checksums(model: nn.Module) -> dict[str, int]:
    """One number for each parameter's bytes, where a copy would cost memory."""
    return {name: zlib.crc32(tensor.detach().numpy().data) for name, tensor in model.named_parameters()}


def available_gb() -> float:
    """Memory that the kernel can give without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024 / 1e9


def check(model: nn.Module, loss: torch.Tensor) -> None:
    """Exits with a line for each parameter whose gradient is wrong."""
    wrong = [
        name
        for name, tensor in model.named_parameters()
        if tensor.grad is None or not tensor.grad.isfinite().all() or not tensor.grad.any()
    ]
    if wrong or not loss.isfinite():
        raise SystemExit(f"loss {loss.item()}; no finite gradient, or one of zeros alone: {wrong}")


def measure(task_name: str, recipe: str) -> dict[str, float]:
    """Seconds and memory of one step."""
    torch.manual_seed(0)
    model, optimizer = build(task_name, recipe)
    before = checksums(model)
    batch = make_batch(task_name)
    clock, work = time.perf_counter(), time.process_time()
    loss = model.training_losses(batch)["loss"]
    loss.backward()
    optimizer.step()
    clock, work = time.perf_counter() - clock, time.process_time() - work
    check(model, loss)
    still = [name for name, value in checksums(model).items() if value == before[name]]
    if still:
        raise SystemExit(f"the optimizer left as they were: {still}")
    return {
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "loss": round(loss.item(), 4),
        "seconds": round(clock, 1),
        "cpu_seconds": round(work, 1),
        "threads": torch.get_num_threads(),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", choices=list(NEEDED_GB), default="ade20k_upernet")
    parser.add_argument("recipe", choices=["base", "large", "huge"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    needed, available = NEEDED_GB[args.task][args.recipe], available_gb()
    if available < needed:
        raise SystemExit(f"{args.recipe} needs about {needed} GB of memory; {available:.1f} GB are available")
    print(json.dumps({"task": args.task, "recipe": args.recipe, **measure(args.task, args.recipe)}))


if __name__ == "__main__":
    main()
