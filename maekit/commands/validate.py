"""`maekit validate`: measure a checkpoint or a weights file on the validation images."""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.commands.shared.session import (
    add_session_arguments,
    chosen_recipe,
    ending_together,
    open_session,
)
from maekit.errors import UserError
from maekit.runs.checkpoint_path import weights_line
from maekit.runs.evaluated import intervals_of
from maekit.runs.files import EVALUATION
from maekit.system.files import atomic_write_text, finite, write_json
from maekit.system.plain import table
from maekit.system.rank import rank
from maekit.system.terminal import say

if TYPE_CHECKING:
    from maekit.api import Session

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --task, --recipe, --config, --ckpt_path, --json and --output; the task's own flags are passed on."""
    add_session_arguments(parser, "--model")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    parser.add_argument(
        "--output", type=Path, help="folder for metrics.json, config.yaml and what else is kept of an evaluation"
    )


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Validates; prints the task's table, if it has one, and its headline metrics, or all metrics as JSON."""
    with redirect_stdout(sys.stderr) if args.json and not args.print_config else nullcontext():
        measured = _measure(args, flags, parser)
    if measured is None or rank() > 0:
        return 0
    session, metrics = measured
    if args.output:
        records = {"config.yaml": session.settings.yaml(), "environment.json": session.environment}
        write_results(args.output, finite(metrics), {**records, **session.results})
    if args.json:
        print(json.dumps(finite(metrics)))
    else:
        interval = intervals_of(table(session.results.get(EVALUATION))).get(session.model.monitor[0])
        if interval is not None:
            say(f"{interval.metric} from {interval.low:.3f} to {interval.high:.3f}: {interval.words()}")
        print("  ".join(f"{name} {value:.3f}" for name, value in session.model.headlines(metrics).items()))
    return 0


def _measure(
    args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser
) -> "tuple[Session, dict[str, float]] | None":
    """Validates and says what was measured; None where only help or the configuration was asked for."""
    with ending_together():
        recipe = chosen_recipe(args, flags, parser)
        opened = open_session(args, recipe, flags, "maekit validate") if recipe is not None else None
    if recipe is None or opened is None:
        return None
    session, path = opened
    if not args.json:
        say(f"data    {session.data.summary()}")
    card = None
    if path is not None:
        from maekit.base.checkpoint_card import read_card

        card = read_card(path)
    if {"data.root", "data.table"} & session.settings.given:
        trained_on = card.data if card is not None else None
        for line in part_measured(session.data.summary(), session.data.identity().plain(), trained_on):
            say(line)
    if path is not None and card is not None and rank() == 0:
        print(weights_line(path, card.step))
    return session, session.validate(path)


def part_measured(summary: str, data: Mapping[str, Any], trained_on: Mapping[str, Any] | None) -> list[str]:
    """Says how few images are measured of data without a validation split, unless they are those of the training.

    Args:
        summary: of the data, which names the seed of a split that was made of them.
        data: `DataIdentity.plain()`.
        trained_on: that of the checkpoint's data; None where it is not known.
    """
    val = data["splits"].get("val")
    if "split_seed" not in summary or (trained_on or {}).get("splits", {}).get("val") == val:
        return []
    count, all_images = val["images"], sum(split["images"] for split in data["splits"].values())
    return [
        f"note    {count:,} of {all_images:,} images are measured, since these data have no validation split and "
        "a part is set aside as for a training; to measure all, give a folder that has them in val/"
    ]


def write_results(folder: Path, metrics: Mapping[str, object], results: Mapping[str, object]) -> None:
    """Writes `metrics.json`, and a file for each of `results`: text as it is, other values as JSON."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in results.items():
            text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":")) + "\n"
            atomic_write_text(folder / name, text)
        intervals = table(results.get(EVALUATION))
        write_json(folder / "metrics.json", {"status": "validated", "val": metrics, **intervals})
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror}); give another folder") from None
