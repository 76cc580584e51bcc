"""Semantic segmentation beside mmsegmentation: one training step, its memory, and sliding windows."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ade20k_sides import CLASSES, SIDES, Side, make_batch
from torch import Tensor

PEER = "mmsegmentation"
WIDE = (512, 2048)  # the largest image of the published evaluation


class Times:
    """Seconds of each side over the rounds: the clock's, and the work of this process on all its threads.

    The ratios are those of single rounds, in which the sides ran one right after the other. While others use the
    machine, those of work are the fair ones.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}

    def rounds(self, number: int, sides: dict[str, Side], call: Callable[[Side], Any]) -> dict[str, list[Any]]:
        """Runs each side `number` times, every other round the other way about; returns what each gave."""
        given: dict[str, list[Any]] = {name: [] for name in sides}
        for turn in range(number):
            for name in list(sides)[:: 1 if turn % 2 else -1]:
                clock, work = time.perf_counter(), time.process_time()
                given[name].append(call(sides[name]))
                self.seconds[name].append((time.perf_counter() - clock, time.process_time() - work))
                last = self.seconds[name][-1]
                print(f"  {name}: {last[0]:.1f} s, of work {last[1]:.1f} s", file=sys.stderr, flush=True)
        return given

    def report(self, warmup: int) -> dict[str, Any]:
        """Medians after the warmup, and each round's ratio."""
        found: dict[str, Any] = {}
        for column, kind in enumerate(("clock", "work")):
            sides = {name: [one[column] for one in values[warmup:]] for name, values in self.seconds.items()}
            ratios = [own / peer for own, peer in zip(sides["maekit"], sides[PEER], strict=True)]
            found[kind] = {
                **{name: round(statistics.median(values), 2) for name, values in sides.items()},
                "maekit_over_peer": round(statistics.median(ratios), 3),
                "of_each_round": [round(ratio, 3) for ratio in ratios],
            }
        return found


def memory(name: str, args: argparse.Namespace) -> dict[str, float]:
    """GiB of one side, measured in a process of its own."""
    flags = {"precision": args.precision, "batch": args.batch, "threads": args.threads, "drop_path": args.drop_path}
    script = Path(__file__).with_name("ade20k_memory.py")
    done = subprocess.run(
        [sys.executable, str(script), name, *(f"--{key}={value}" for key, value in flags.items())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def logits_difference(sides: dict[str, Side], crops: Tensor) -> dict[str, float]:
    """The largest difference of any logit of a crop, and the largest logit beside it."""
    own, peer = (sides[name].evaluate(sides[name].logits, crops) for name in ("maekit", PEER))
    return {"largest_difference": float((own - peer).abs().max()), "largest_logit": float(peer.abs().max())}


def slide(sides: dict[str, Side], args: argparse.Namespace) -> dict[str, Any]:
    """Sliding windows on a wide image, resized to its file's size (the same), the best class of each pixel."""
    image, times = torch.randn(3, *WIDE, generator=torch.Generator().manual_seed(1)), Times()
    given = times.rounds(args.rounds, sides, lambda side: side.evaluate(side.labels, image))
    same = (given["maekit"][0] == given[PEER][0]).float().mean()
    classes = len(given[PEER][0].unique())
    return {"seconds": times.report(0), "share_of_same_labels": float(same), "classes_predicted": classes}


def train(sides: dict[str, Side], args: argparse.Namespace) -> dict[str, Any]:
    """Training steps, all on one batch, and how far the losses of each are apart."""
    times = Times()
    given = times.rounds(args.warmup + args.rounds, sides, Side.step)
    losses = [
        {name: [one[name], abs(one[name] - peer[name])] for name in one}
        for one, peer in zip(given["maekit"], given[PEER], strict=True)
    ]
    return {"seconds": times.report(args.warmup), "loss_and_difference_of_each_step": losses}


def profile(sides: dict[str, Side]) -> dict[str, Any]:
    """Where each side's step spends its time, by operator."""
    for name, side in sides.items():
        with torch.profiler.profile() as profiler:
            side.step()
        print(f"{name}\n{profiler.key_averages().table(sort_by='self_cpu_time_total', row_limit=30)}")
    return {}


def ade20k_upernet(args: argparse.Namespace) -> dict[str, Any]:
    """Everything the benchmark finds; printed as it comes."""
    torch.manual_seed(0)
    result: dict[str, Any] = {"settings": {**vars(args), "torch": torch.__version__, "classes": CLASSES}}
    batch = make_batch(512, args.batch)
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        made = {name: SIDES[name](args, batch, weights) for name in (PEER, "maekit")}
    sides = {name: made[name] for name in SIDES}
    parts: dict[str, Callable[[], Any]] = {
        "logits": lambda: logits_difference(sides, batch.image),
        "sliding_windows": lambda: slide(sides, args),
        "training_step": lambda: train(sides, args),
        "memory": lambda: {name: memory(name, args) for name in SIDES},
    }
    if args.profile:
        return profile(sides)
    for name in [part for part in parts if part in (args.parts or parts)]:
        result[name] = parts[name]()
        print(json.dumps({name: result[name]}, indent=1), flush=True)
        if name == "training_step":
            sides.clear(), made.clear()
    return result
