"""Seconds that `report`, `compare` and `reproduce` take on a hundred runs, from the command to its end.

    python benchmarks/startup_results.py                 # text; --json FILE writes the numbers too
    python benchmarks/startup_results.py --runs 1000     # of more runs

The runs are made by hand in a temporary folder: each has a configuration of 90 keys, an environment, metrics and tables
of 22 and 24 rows, as a run of two minutes leaves them. Each command is a process of its own; the median and the range
of its wall times are printed, and whether it imported torch, which it has no need of.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

MOST_SECONDS = 1.5


def write_run(folder: Path, seed: int) -> None:
    """Writes what a finished run leaves, without its checkpoints."""
    folder.mkdir(parents=True)
    keys = "".join(f"  key_{at}: {at / 7:.4f}\n" for at in range(84))
    decay = (0.55, 0.65, 0.75, 0.85, 1.0)[seed % 5]
    (folder / "config.yaml").write_text(
        f"model:\n  layer_decay: {decay}\n  weights: null\n{keys}data:\n  synthetic: digits\nrun:\n  seed: {seed}\n"
    )
    environment = {
        "task": "imagenet_finetune",
        "recipe": "smoke",
        "given": ["optim.layer_decay"],
        "recipe_values": {"optim.layer_decay": 0.75, "data.synthetic": "digits"},
        "monitor": ["val/top1", "max"],
        "total_steps": 1032,
        "total_batch": 32,
        "command": ["maekit", "fit"],
        "versions": {"torch": "2.15.0"},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    metrics = {
        "status": "finished",
        "step": 1032,
        "val": {"top1": 99.0 + seed % 10 / 10, "loss": 0.12},
        "best": {"metric": "val/top1", "value": 99.9, "step": 645},
        "seconds": 46.9,
        "images_per_second": 788.1,
        "peak_memory_gib": 0.91,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    train = [f"{50 * at},{1e-3 / (at + 1)},{700 + at},{2.3 / (at + 1)}" for at in range(22)]
    val = [f"{43 * at},{99 - 30 / (at + 1)},{1 / (at + 1)}" for at in range(24)]
    (folder / "train.csv").write_text("\n".join(["step,lr,images_per_second,loss", *train]) + "\n")
    (folder / "val.csv").write_text("\n".join(["step,top1,loss", *val]) + "\n")


def measure(words: list[str], repeats: int) -> tuple[list[float], bool]:
    """Wall seconds of each of several processes, and whether one of them imported torch."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "maekit", *words], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "maekit", *words], check=True, capture_output=True, text=True
    )
    return seconds, any(line.rpartition("|")[2].strip() == "torch" for line in told.stderr.splitlines())


def main() -> None:
    """Prints a line for each command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    args = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    print(f"{args.runs} runs; Python {platform.python_version()}, {platform.machine()}; at most {MOST_SECONDS} s")
    with TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        for seed in range(args.runs):
            write_run(runs / "imagenet_finetune" / "smoke" / str(seed), seed)
        commands = {
            "report": ["report", str(runs), "--output", str(Path(folder) / "report")],
            "compare": ["compare", str(runs)],
            "reproduce": ["reproduce", "--table", "3", "--runs", str(runs)],
        }
        for name, words in commands.items():
            seconds, torch = measure(words, args.repeats)
            found[name] = {"seconds": seconds, "median": statistics.median(seconds), "imports_torch": torch}
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"{name:<10} {statistics.median(seconds):.2f} s ({spread}){', IMPORTS TORCH' if torch else ''}")
    if args.json:
        args.json.write_text(json.dumps({"runs": args.runs, "commands": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
