"""`maekit lr-find`: a learning-rate range test, and the rate to train with."""

import argparse
import csv
import io
import json
from dataclasses import asdict, astuple, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.flags import add_help_argument, add_recipe_arguments
from maekit.commands.shared.session import chosen_recipe, open_session
from maekit.errors import UserError
from maekit.optim.lr_curve import LrCurve, LrStep
from maekit.report.charts.charts import svg_file
from maekit.report.document import LineChart, Series
from maekit.system.files import atomic_write_text, finite, write_json

if TYPE_CHECKING:
    from maekit.recipes.recipe import Recipe

FORWARDS = True
DEFAULT = "lr_find"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the ramp, --output and --json; the task's own flags are passed on."""
    add_recipe_arguments(parser)
    rate = "a rate in the recipe's own terms (base_lr or lr), or a multiple of the recipe's, such as"
    parser.add_argument("--from", dest="first", default="0.01x", metavar="RATE", help=f"the first rate: {rate} 0.01x")
    parser.add_argument("--to", dest="last", default="100x", metavar="RATE", help=f"the last rate: {rate} 100x")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps, each of the recipe's total batch")
    parser.add_argument("--output", type=Path, help="a new folder for the curve; default: lr_find, lr_find2, ...")
    parser.add_argument("--json", action="store_true", help="print the suggestion and every step as JSON")
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and stop")
    add_help_argument(parser)
    parser.set_defaults(ckpt_path=None)


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Runs the test, prints the suggestion, and writes the curve; returns the exit status."""
    recipe = chosen_recipe(args, flags, parser)
    if recipe is None:
        return 0
    if args.output is not None and args.output.exists():
        raise UserError(f"--output {args.output}: exists already, expected a new folder; give another one")
    opened = open_session(args, recipe, flags, "maekit lr-find")
    if opened is None:
        return 0
    session, _ = opened
    curve = session.lr_find(args.first, args.last, args.steps, progress=None if args.json else print_step)
    if args.json:
        print(json.dumps(as_json(curve)))
    else:
        print("\n".join(curve.lines()))
    folder = write(curve, recipe, args.output)
    if not args.json:
        print(f"curve   {folder}: lr_find.svg, lr_find.csv, lr_find.json")
    return 0


def print_step(curve: LrCurve) -> None:
    """Prints the newest step of a test, at every tenth of it."""
    newest = curve.steps[-1]
    if (newest.step + 1) % max(curve.num_steps // 10, 1) == 0:
        place = f"step {newest.step + 1}/{curve.num_steps}"
        print(f"{place}  {curve.key} {newest.rate:.2e}  loss {newest.loss:.4g}", flush=True)


def as_json(curve: LrCurve) -> dict[str, object]:
    """Returns the ramp, the suggestion, and every step with its smoothed loss; NaN becomes null."""
    smoothed = curve.smoothed()
    steps = [finite({**asdict(step), "smoothed": value}) for step, value in zip(curve.steps, smoothed, strict=True)]
    return {
        "rate": curve.key, "recipe": curve.own, "from": curve.first, "to": curve.last, "num_steps": curve.num_steps,
        "diverged": curve.diverged, "suggestion": curve.suggestion(), "flag": curve.flag(), "steps": steps,
    }  # fmt: skip


def as_csv(curve: LrCurve) -> str:
    """Returns a row for each step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(field.name for field in fields(LrStep)), "smoothed"])
    writer.writerows((*astuple(step), value) for step, value in zip(curve.steps, curve.smoothed(), strict=True))
    return text.getvalue()


def chart(curve: LrCurve, title: str) -> LineChart:
    """Returns the loss over the rate, smoothed, each step's as dots, with the recipe's rate and the suggestion."""
    smoothed = curve.smoothed()
    points = tuple((step.rate, value) for step, value in zip(curve.steps, smoothed, strict=True))
    dots = tuple((step.rate, step.loss) for step in curve.steps)
    height = (min(smoothed), max(smoothed))
    series = [Series("loss, smoothed", points, dots=dots)]
    series += [
        Series(f"{name} {rate:.2g}", tuple((rate, y) for y in height))
        for name, rate in (("recipe", curve.own), ("suggestion", curve.suggestion()))
        if rate is not None and curve.first <= rate <= curve.last
    ]
    return LineChart(DEFAULT, title, f"optim.{curve.key}", "training loss", tuple(series), log_x=True)


def write(curve: LrCurve, recipe: "Recipe", output: Path | None) -> Path:
    """Writes the curve into a new folder, which it returns.

    Raises:
        UserError: the folder cannot be made.
    """
    names = (Path(DEFAULT if number == 1 else f"{DEFAULT}{number}") for number in count(1))
    folder = output or next(name for name in names if not name.exists())
    try:
        folder.mkdir(parents=True)
        atomic_write_text(folder / "lr_find.csv", as_csv(curve))
        write_json(folder / "lr_find.json", {"task": recipe.task.given_as, "recipe": recipe.name, **as_json(curve)})
        title = f"Learning-rate range test of {recipe.task.name}, {recipe.name}"
        atomic_write_text(folder / "lr_find.svg", svg_file(chart(curve, title)))
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror}); give another folder") from None
    return folder
