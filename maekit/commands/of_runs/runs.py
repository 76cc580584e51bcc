"""`maekit runs`: list runs, remove some (`rm`), or all but the best (`prune`)."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.runs.listing.remove import Removal
    from maekit.runs.listing.rows import RunRow

FORWARDS = False
_MOST_KILLED = 3  # runs of which the list says how to go on with them
RUNS, STUDIES = Path("runs"), Path("studies")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|rm|prune")
    parser.set_defaults(default_action="list")
    _add_list(actions.add_parser("list", help="a table of runs; `list` may be left out"))
    remove = actions.add_parser("rm", help="remove runs: their whole folders")
    remove.add_argument("runs", nargs="+", metavar="RUN", help="a run's number or name (3, smoke/3) or its folder")
    prune = actions.add_parser("prune", help="remove finished runs but for the best, or their last.ckpt")
    prune.add_argument("folder", type=Path, nargs="?", default=RUNS, help="a folder of runs; default: runs")
    prune.add_argument(
        "--keep-best",
        dest="keep_best",
        type=int,
        nargs="?",
        const=1,
        metavar="N",
        help="of each task, recipe and data set keep the N finished runs with the best value (default 1), and remove "
        "the folders of its other finished runs; runs that did not finish, and those of studies, stay",
    )
    prune.add_argument(
        "--checkpoints",
        action="store_true",
        help="remove last.ckpt of the finished runs that stay; best.ckpt and all records stay",
    )
    for action in (remove, prune):
        action.add_argument("--yes", action="store_true", help="do not ask")


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, nargs="?", help="a folder with runs at any depth; default: runs, and studies beside it"
    )
    parser.add_argument("--task", help="runs of this task only")
    parser.add_argument("--state", help="running, finished, paused, stopped, failed, killed or validated")
    parser.add_argument("--data", help="runs on the data folder of this name, or with this text in its path")
    parser.add_argument("--since", metavar="TIME", help="runs that wrote something in the last 12h, 2d or 1w, or since "
                        "a date such as 2026-11-30")  # fmt: skip
    parser.add_argument("--sort", default="age", help="age (newest first), metric (best first, task by task), size, "
                        "step or name; default: age")  # fmt: skip
    parser.add_argument("--studies", action="store_true", help="list the runs of studies too")
    parser.add_argument("--json", action="store_true", help="print a JSON list: whole folders, bytes, why a run failed")


def main(args: argparse.Namespace) -> int:
    """Lists, removes or prunes."""
    if args.action == "rm":
        return _remove(args)
    return _prune(args) if args.action == "prune" else _list(args)


def _list(args: argparse.Namespace) -> int:
    from maekit.runs.folder import shown
    from maekit.runs.listing.choose import Filters, chosen, in_order, since_of
    from maekit.runs.listing.rows import rows_in
    from maekit.runs.listing.table import as_values, named, shared_name, text_table
    from maekit.system.numbers import plural

    since = None if args.since is None else since_of(args.since)
    every = rows_in(_folders(args.folder))
    ours = [row for row in every if args.studies or row.study is None]
    listed = in_order(chosen(ours, Filters(args.task, args.state, args.data, since)), args.sort)
    rows = named(listed, every)
    if args.json:
        print(json.dumps([as_values(row) for row in rows], indent=2))
        return 0
    if rows:
        width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else None
        print("\n".join(text_table(rows, width)))
        if width is not None and (line := shared_name(rows)):
            print(line)
    else:
        print(_nothing(args.folder or RUNS, ours))
    killed = [row for row in listed if row.state.word == "killed" and row.study is None]
    for row in killed[:_MOST_KILLED]:
        print(f"killed: {shown(row.folder)}: {row.state.reason}")
    if len(every) > len(ours):
        studies = len({row.study for row in every if row.study is not None})
        counted = plural(len(every) - len(ours), "run")
        print(f"and {counted} of {plural(studies, 'study', 'studies')}: --studies lists them")
    return 0


def _folders(given: Path | None) -> list[Path]:
    """The folders to look through.

    Raises:
        UserError: the one that was given does not exist.
    """
    if given is None:
        return [folder for folder in (RUNS, STUDIES) if folder.is_dir()]
    from maekit.runs.named import existing_run

    return [existing_run(given)]


def _nothing(folder: Path, rows: Sequence["RunRow"]) -> str:
    if rows:
        return f"none of the {len(rows)} runs passes these filters"
    return f"no runs in {folder}; `maekit fit --task TASK` makes one, and `maekit tasks` lists the tasks"


def _remove(args: argparse.Namespace) -> int:
    from maekit.runs.listing.remove import whole
    from maekit.runs.named import existing_run

    folders = [existing_run(Path(given)) for given in args.runs]
    folders = [folder.resolve() if ".." in folder.parts else folder for folder in folders]
    unique = {folder.resolve(): folder for folder in folders}
    return _confirmed([whole(folder) for folder in unique.values()], args.yes, RUNS)


def _prune(args: argparse.Namespace) -> int:
    from maekit.runs.listing.prune import pruned
    from maekit.runs.listing.remove import checkpoint, whole
    from maekit.runs.listing.rows import rows_in
    from maekit.runs.named import existing_run
    from maekit.system.numbers import plural

    if args.keep_best is None and not args.checkpoints:
        raise UserError("prune: nothing to do; give --keep-best N to remove other finished runs, or --checkpoints")
    if args.keep_best is not None and args.keep_best < 1:
        raise UserError(f"--keep-best: got {args.keep_best}, expected 1 or more")
    found = pruned(rows_in([existing_run(args.folder)]), args.keep_best, checkpoints=args.checkpoints)
    for row in found.unranked:
        print(f"stays: {row.folder} has no value to rank it by")
    print(f"{plural(len(found.kept), 'run')} not touched")
    removals = [whole(row.folder) for row in found.runs]
    removals += [checkpoint(row.folder, "last.ckpt") for row in found.checkpoints]
    if found.checkpoints:
        print("without last.ckpt a finished run cannot be trained on (--run.extend); its weights are in best.ckpt")
    return _confirmed(removals, args.yes, args.folder)


def _confirmed(removals: Sequence["Removal"], yes: bool, folder: Path) -> int:
    """Prints what goes and which runs need it, asks, and removes it; returns 0, or 1 if the answer was no.

    Args:
        removals: what goes.
        yes: does not ask.
        folder: of runs that are looked at too, beside those of the current folder.
    """
    from maekit.runs.folder import shown
    from maekit.runs.listing.begun_from import begun_lines
    from maekit.runs.listing.remove import removed
    from maekit.runs.listing.rows import rows_in
    from maekit.runs.listing.table import size_text

    for one in removals:
        what = ", ".join(shown(file) for file in one.files) or f"{shown(one.folder)}, the whole run"
        also = f", with what no run writes: {', '.join(one.also)}" if one.also else ""
        print(f"{size_text(one.bytes):>8}  {what}{also}")
    if not removals:
        print("nothing to remove")
        return 0
    beside = {
        one.folder.absolute().parents[2] for one in removals if one.folder.absolute().parents[2].name == RUNS.name
    }
    looked = {top.resolve(): top for top in (RUNS, STUDIES, folder, *beside) if top.is_dir()}
    for line in begun_lines(removals, rows_in(list(looked.values()))):
        print(f"needed: {line}")
    total = size_text(sum(one.bytes for one in removals))
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"nothing removed: there is no terminal to ask in; add --yes to remove {total}")
        if input(f"remove these {total}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing removed")
            return 1
    removed(removals, print)
    print(f"{total} freed")
    return 0
