"""`maekit reproduce`: the paper's tables beside your runs, and what is missing."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.errors import UserError, nearest
from maekit.paper.as_json import missing_json, table_json, unused_json
from maekit.paper.children import run_all
from maekit.paper.fill import Filled, Unused, fill, unused
from maekit.paper.missing import Missing, missing_runs
from maekit.paper.tables import Table, load_table, table_names
from maekit.paper.text import missing_lines, table_lines, unused_lines
from maekit.runs.find import find_runs, labels
from maekit.runs.read import Run
from maekit.system.plain import JSON

FORWARDS = True
SECTIONS = ("model", "data", "trainer", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command; all others are passed on to the runs."""
    parser.add_argument("--table", metavar="NAME", help=f"{', '.join(table_names())}, or all; several as 3,5")
    parser.add_argument("--row", metavar="NAME", help="only the cells of this row")
    parser.add_argument("--column", metavar="NAME", help="only the cells of this column, such as B")
    parser.add_argument("--runs", type=Path, nargs="+", metavar="DIR", help="where your runs are; default: runs")
    parser.add_argument(
        "--which",
        choices=("final", "best"),
        default="final",
        help="the value at a run's end (default), or that of its best.ckpt",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs a cell should have; default: 1")
    parser.add_argument(
        "--comparisons",
        action="store_true",
        help="count runs of the other pre-trainings' rows as missing too (MoCo v3, BEiT, supervised, ...); with --row "
        "this is not needed",
    )
    parser.add_argument("--missing", action="store_true", help="print the commands of the missing runs alone")
    parser.add_argument(
        "--run",
        action="store_true",
        help="run what is missing, one after the other; flags such as --data.root are passed on",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-h", "--help", action="store_true", help="this help")


@dataclass(frozen=True)
class View:
    """What is printed: the tables, what fills each cell, what is missing, and the runs in no cell."""

    tables: list[Table]
    filled: list[list[Filled]]
    missing: list[Missing]
    unused: list[Unused]
    runs: list[Run]
    which: str


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Prints the tables; with --run runs what is missing first."""
    if args.help:
        parser.print_help()
        return 0
    _check_flags(args, flags)
    tables = _tables(args)
    view = _look(args, tables, flags)
    ran: list[tuple[Missing, int]] = []
    if args.run:
        ran = _run(args, view, flags)
        view = _look(args, tables, flags)
    if args.json:
        known = {"missing": missing_json(view.missing)} if args.missing else _as_json(view)
        done = [{"command": one.command, "exit_status": status} for one, status in ran]
        print(json.dumps({**known, **({"ran": done} if args.run else {})}))
    elif args.missing:
        print("\n".join(one.command for one in view.missing) or "# nothing is missing")
    else:
        print("\n".join(_lines(view)))
    failed = [one.command for one, status in ran if status]
    if failed:
        raise UserError(f"{len(failed)} of {len(ran)} runs failed, the first: {failed[0]}; its own line above says why")
    return 0


def _check_flags(args: argparse.Namespace, flags: Sequence[str]) -> None:
    if args.table is None:
        raise UserError(f"no table given; add --table NAME, one of: {', '.join(table_names())}, all")
    if args.seeds < 1:
        raise UserError(f"--seeds: got {args.seeds}, expected 1 or more")
    own = ["--table", "--row", "--column", "--runs", "--which", "--seeds", "--missing", "--comparisons"]
    own += ["--run", "--json"]
    for place, flag in enumerate(flags):
        if flag.startswith("--"):
            section, dot, _ = flag[2:].split("=")[0].partition(".")
            if not dot or section not in SECTIONS:
                raise UserError(
                    f"unknown flag '{flag}'{nearest(flag, own)} (a run's own begin with --model., --data. and so on)"
                )
            if flag.startswith(("--run.seed", "--run.name")):
                raise UserError(
                    f"got {flag.split('=')[0]}, expected none: say how many seeds by --seeds; folders are numbered"
                )
        elif place == 0 or not flags[place - 1].startswith("--") or "=" in flags[place - 1]:
            raise UserError(f"got '{flag}', expected a flag; see `maekit reproduce --help`")


def _tables(args: argparse.Namespace) -> list[Table]:
    names = table_names() if args.table == "all" else dict.fromkeys(args.table.split(","))
    tables = [load_table(name) for name in names]
    for what, given in (("row", args.row), ("column", args.column)):
        known = list(dict.fromkeys(getattr(cell, what) for table in tables for cell in table.cells))
        if given is not None and given not in known:
            raise UserError(
                f"no cell has --{what} '{given}'{nearest(given, known)} (known: {'; '.join(known) or 'none'})"
            )
    return tables


def _look(args: argparse.Namespace, tables: list[Table], flags: Sequence[str]) -> View:
    runs = _runs(args)
    filled = [[place for place in fill(table, runs, args.which) if _shown(args, place)] for table in tables]
    flags = _with_folder(args, flags)
    wanted = [place for places in filled for place in places if _is_wanted(args, place)]
    missing = missing_runs(wanted, runs, seeds=args.seeds, flags=flags)
    return View(tables, filled, missing, unused(tables, runs, args.which), runs, args.which)


def _shown(args: argparse.Namespace, place: Filled) -> bool:
    return args.row in (None, place.cell.row) and args.column in (None, place.cell.column)


def _is_wanted(args: argparse.Namespace, place: Filled) -> bool:
    """Whether a cell's missing runs are asked for: those of other pre-trainings only where somebody asks."""
    return bool(args.comparisons or args.row or not place.cell.ours.comparison)


def _runs(args: argparse.Namespace) -> list[Run]:
    """The runs under the given folders; the default one may be missing or empty."""
    if args.runs:
        new = [path for path in args.runs if args.run and len(args.runs) == 1 and not path.exists()]
        return [] if new else find_runs(args.runs)
    try:
        return find_runs([Path("runs")])
    except UserError:
        return []


def _with_folder(args: argparse.Namespace, flags: Sequence[str]) -> tuple[str, ...]:
    """Adds `--run.folder` so that new runs go where runs were looked for."""
    given = any(flag.split("=")[0] == "--run.folder" for flag in flags)
    if given or not args.runs or len(args.runs) > 1 or args.runs[0] == Path("runs"):
        return tuple(flags)
    return (*flags, "--run.folder", str(args.runs[0]))


def _run(args: argparse.Namespace, view: View, flags: Sequence[str]) -> list[tuple[Missing, int]]:
    names = {flag.split("=")[0] for flag in flags}
    if "--model.weights" in names and len(view.missing) > 1:
        raise UserError(
            f"got --model.weights for {len(view.missing)} missing runs, expected one: add --row and --column"
        )
    for one in view.missing:
        unset = [word for word in one.words if word.startswith("$") and word[1:] not in os.environ]
        if unset:
            is_weights = one.words[one.words.index(unset[0]) - 1] == "--model.weights"
            flag, what = ("--model.weights", "FILE") if is_weights else ("--data.root", "FOLDER")
            raise UserError(
                f"{unset[0]} is not set; give {flag} {what}, or export {unset[0][1:]}={what} ({one.cells[0]})"
            )
    idle = [one for one in view.missing if not one.live]
    for one in view.missing:
        if one.live:
            _say(f"left alone: {one.goes_on} changed a moment ago, it may still be on; if not: {one.command}")
    return run_all(idle, _say, to_stderr=args.json)


def _say(line: str) -> None:
    print(f"maekit: {line}", file=sys.stderr, flush=True)


def _lines(view: View) -> list[str]:
    named = labels(view.runs)
    lines: list[str] = []
    for table, filled in zip(view.tables, view.filled, strict=True):
        lines += [*table_lines(table, filled, named, view.which), ""]
    if any(view.filled):
        lines += [*missing_lines(view.missing), ""]
    return [*lines, *unused_lines(view.unused, named)]


def _as_json(view: View) -> dict[str, JSON]:
    named = labels(view.runs)
    return {
        "which": view.which,
        "tables": [table_json(table, filled, named) for table, filled in zip(view.tables, view.filled, strict=True)],
        "missing": missing_json(view.missing),
        "num_runs": len(view.runs),
        "in_no_cell": unused_json(view.unused, named),
    }
