"""Detection beside detectron2 (backbone and pyramid) and torchvision (proposals, regions, losses): steps and memory."""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from coco_sides import HOW_TO_INSTALL, PEERS, SIDES, write_weights

Measures = dict[str, list[dict[str, float]]]


def child(part: str, side: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """One measurement of one side, which is gone from memory after it."""
    flags = {"precision": args.precision, "batch": args.batch, "threads": args.threads, "warmup": args.warmup}
    files = {"weights": folder / "weights.pth", "outputs": folder / f"{part}-{side}.pth"}
    words = [f"--{key}={value}" for key, value in {**flags, **files}.items()]
    script = Path(__file__).with_name("coco_child.py")
    done = subprocess.run(
        [sys.executable, str(script), part, side, *words, *(["--profile"] if args.profile else [])],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{part}, {side}: stopped with {done.returncode}")
    if args.profile:
        print(f"{part}, {side}\n{done.stdout}", flush=True)
        return {}
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {part}, {side}: {found}", file=sys.stderr, flush=True)
    return found


def measure(part: str, folder: Path, args: argparse.Namespace) -> Measures:
    """Each side `--rounds` times, one right after the other, every other round the other way about."""
    sides = list(SIDES[part])
    if PEERS[part] == "detectron2" and importlib.util.find_spec("detectron2") is None:
        print(HOW_TO_INSTALL, file=sys.stderr)
        sides.remove("detectron2")
    found: Measures = {side: [] for side in sides}
    for turn in range(1 if args.profile else args.rounds):
        for side in sides[:: -1 if turn % 2 else 1]:
            found[side].append(child(part, side, folder, args))
    return found


def differences(folder: Path, peer: str) -> dict[str, list[float]]:
    """Of each map, and of one gradient: the largest difference, and the peer's largest value."""
    own, other = (torch.load(folder / f"backbone-{side}.pth") for side in ("maekit", peer))
    return {name: [float((own[name] - other[name]).abs().max()), float(other[name].abs().max())] for name in other}


def losses(folder: Path, peer: str) -> dict[str, list[float]]:
    """Maekit's and the peer's: draws differ, and torchvision's box losses are smooth L1, its first by another count."""
    own, other = (torch.load(folder / f"detector-{side}.pth") for side in ("maekit", peer))
    return {name: [own[name].item(), other[name].item()] for name in own}


def report(part: str, found: Measures, folder: Path) -> dict[str, Any]:
    """Medians of each side, ratios of each round, and how far the sides are apart."""
    result: dict[str, Any] = {
        side: {name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]}
        for side, rounds in found.items()
    }
    if (peer := PEERS[part]) not in found:
        return result
    for name in ("work", "clock", "peak"):
        ratios = [own[name] / other[name] for own, other in zip(found["maekit"], found[peer], strict=True)]
        result[f"{name}_over_{peer}"] = {
            "median": round(statistics.median(ratios), 3), "rounds": [round(ratio, 3) for ratio in ratios]
        }  # fmt: skip
    if part == "detector":
        return {**result, "losses": losses(folder, peer)}
    return {**result, "largest_difference_and_value": differences(folder, peer)}


def coco_maskrcnn(args: argparse.Namespace) -> dict[str, Any]:
    """Everything the benchmark finds; printed as it comes."""
    result: dict[str, Any] = {"settings": {**vars(args), "torch": torch.__version__}}
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights.pth")
        for part in args.parts or SIDES:
            found = measure(part, folder, args)
            if args.profile:
                continue
            result[part] = report(part, found, folder)
            print(json.dumps({part: result[part]}, indent=1), flush=True)
    return result
