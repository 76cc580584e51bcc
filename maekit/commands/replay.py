"""`maekit replay`: computes a step that was not finite again, layer by layer."""

import argparse
import json
from pathlib import Path

from maekit.commands.shared.flags import add_device_argument
from maekit.errors import UserError
from maekit.runs.named import existing_run

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        help="nan_step.pt of a run, or the run's folder or number; the exit status is 0 if what "
        "is not finite was found, 1 if all was finite this time",
    )
    parser.add_argument("--float64", action="store_true", help="compute it in float64 as well")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--task", help="where the task is now, if its own file has moved")
    add_device_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Replays the step; returns 0 if it found what is not finite, and 1 if all was finite this time."""
    from maekit.replay.nan_step import FILE, read_nan_step
    from maekit.replay.replay import replay
    from maekit.replay.text import as_json, lines
    from maekit.system.hardware import choose_device

    path: Path = args.file
    if path.suffix != ".pt" and not path.is_file():
        path = existing_run(path) / FILE
        if not path.is_file():
            raise UserError(
                f"{path.parent} has no {FILE}, which a run leaves there when its loss is not finite; give that file"
            )
    step = read_nan_step(path)
    device = choose_device(_chosen(args.device, step.facts.device))
    if device.type == "mps" and args.float64:
        raise UserError("got --float64 on mps, which has no float64; add --device cpu")
    found = replay(step, path, device, double=args.float64, task=args.task)
    if args.json:
        print(json.dumps(as_json(step, found)))
    else:
        print("\n".join(lines(step, found)))
    return 1 if found.verdict.where == "none" else 0


def _chosen(asked: str, of_run: str) -> str:
    """The device's name: under `auto` the kind of the run, where this machine has it, else the CPU."""
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return asked if asked != "auto" else of_run if here.get(of_run) else "cpu"
