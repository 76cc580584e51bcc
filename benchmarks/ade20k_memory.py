"""Peak memory of training steps of one side, alone in its process, by the kernel's own count (Linux).

    python benchmarks/ade20k_memory.py maekit              # or mmsegmentation; prints GiB as JSON

Reported is what is resident over what was after the imports: the model with its optimizer, whose state a step on zero
gradients has made, and the most during the training step after it. glibc may keep a little of what was freed.
"""

import argparse
import json
import time
from pathlib import Path

import ade20k_peer
import torch
from ade20k_sides import SIDES, make_batch


def resident(key: str) -> float:
    """GiB of this process: VmRSS is now, VmHWM the most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=list(SIDES))
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="fp32")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--drop_path", type=float, default=0.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    batch = make_batch(512, args.batch)
    if args.side == "mmsegmentation":
        ade20k_peer.quietly(ade20k_peer.published_config, 0.0)  # for its imports
    floor = resident("VmRSS")
    side = SIDES[args.side](args, batch, None)
    for parameter in side.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    side.optimizer.step()
    side.optimizer.zero_grad()
    kept = resident("VmRSS") - floor
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    clock, work = time.perf_counter(), time.process_time()
    losses = side.step()
    clock, work = time.perf_counter() - clock, time.process_time() - work
    found = {
        "kept_between_steps": kept, "peak": resident("VmHWM") - floor, "imports": floor, "seconds": clock, "work": work
    }  # fmt: skip
    print(json.dumps({name: round(value, 2) for name, value in {**found, **losses}.items()}))


if __name__ == "__main__":
    main()
