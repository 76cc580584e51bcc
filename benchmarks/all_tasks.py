"""Every task's training step beside its peers', in one run and one table: `python benchmarks/step_time.py`.

    python benchmarks/step_time.py                            # Base, dense tasks on smaller images; minutes on 2 cores
    python benchmarks/step_time.py --size smoke --json FILE   # seconds
    python benchmarks/step_time.py --full                     # Base, images as large as the recipe's
    python benchmarks/step_time.py --tasks mae_pretrain ade20k_upernet --device cuda

Each task runs in the precision in which maekit's step is faster on the machine at hand; all sides of a task have the
same precision, noise, labels and threads, no drop path, dropout or mixup, and an optimizer of their own with as many
parameters. The sides take turns. `clock` is seconds of the wall, `work` CPU time of the process: while others use the
machine, ratios of work are the fair ones. Of detection the whole step has detectron2's modules as its peer, where
that is installed, and the detector alone, on given maps, torchvision's.
"""

import argparse
import importlib.util
import json
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from all_sides import DETECTOR, PEERS, TASKS, Case, case_of, free, maekit_step
from turns import by_turns, fastest_precision, markdown

INSTALLED = {"mmsegmentation": "mmseg", "detectron2": "detectron2", "timm": "timm", "transformers": "transformers"}


def peers_of(task: str) -> dict[str, Any]:
    """The peers that are installed; says which are not."""
    found = {}
    for name, build in PEERS.get(task, {}).items():
        if importlib.util.find_spec(INSTALLED[name]) is None:
            print(f"{task}: {name} is not installed and left out", file=sys.stderr)
        else:
            found[name] = build
    return found


def rows_of(case: Case, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The measurements of one task: its whole step, and of detection its detector alone."""
    groups = {case.task: {"maekit": maekit_step, **peers_of(case.task)}}
    if case.task == "coco_maskrcnn":
        groups["coco_maskrcnn, detector on given maps"] = dict(DETECTOR)
    rows = []
    for name, builders in groups.items():
        print(f"{name}: {case}", file=sys.stderr, flush=True)
        steps = {side: build(case) for side, build in builders.items()}
        found = by_turns(steps, case.device, args.rounds, args.warmup)
        del steps
        free()
        rows.append({"name": name, **asdict(case), "sides": found})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Medians and ratios to each peer."""
    body = []
    for row in rows:
        own = row["sides"]["maekit"]
        peers = {name: one for name, one in row["sides"].items() if name != "maekit"} or {"none": {}}
        for name, peer in peers.items():
            shape = f"{row['recipe']}, {row['batch']} x {row['side']} px, {row['precision']}"
            both = "clock" in own and "clock" in peer
            seconds = f"{own['clock']:.3f}" if "clock" in own else own["error"]
            theirs = f"{peer['clock']:.3f}" if "clock" in peer else peer.get("error", "")
            ratios = [f"{own[kind] / peer[kind]:.2f}" if both else "" for kind in ("clock", "work")]
            body.append([row["name"], shape, name, seconds, theirs, *ratios])
    header = ["task", "size, images, precision", "peer", "maekit s", "peer s", "ratio (clock)", "ratio (work)"]
    return markdown(header, body)


def arguments() -> argparse.Namespace:
    """The flags of a run over all tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--size", choices=["smoke", "base", "large", "huge"], default="base")
    parser.add_argument("--full", action="store_true", help="images as large as the recipe's for dense tasks too")
    parser.add_argument("--batch", type=int, help="images a step: 8, of segmentation 2, of detection 1")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def main() -> None:
    args = arguments()
    rows: list[dict[str, Any]] = []
    for task in args.tasks:
        case = case_of(task, args.size, args.device, reduced=not args.full, batch=args.batch)
        if args.precision == "auto":
            precision, seconds = fastest_precision(case, args.device)
            print(f"{task}: {precision}, by {seconds}", file=sys.stderr, flush=True)
        else:
            precision = args.precision
        rows += rows_of(replace(case, precision=precision), args)
    machine = platform.processor() or platform.machine()
    about = f"torch {torch.__version__}, {args.device}, {machine}, {args.threads} threads, {args.rounds} rounds"
    print(f"{about}\n\n{table(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
