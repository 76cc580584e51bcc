"""`maekit knn`: tell classes, labels, values or grades of images by their nearest features, without training."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.flags import add_device_argument, check_least
from maekit.commands.shared.told import Read, read_told
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.features.files.folder import FeatureFolder
    from maekit.features.neighbours.knn import Neighbours

FORWARDS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-h", "--help", action="help", help="this help")
    parser.add_argument("--train", type=Path, metavar="DIR", help="features with labels, whose images vote")
    parser.add_argument(
        "--val", type=Path, metavar="DIR", help="features with labels of the same classes, which are classified"
    )
    parser.add_argument(
        "--features", type=Path, metavar="DIR", help="instead of both: each image by all others (leave-one-out)"
    )
    parser.add_argument(
        "--neighbours", default="20", metavar="N,...", help="how many vote; several as 5,10,20,50; default: 20"
    )
    parser.add_argument("--temperature", type=float, default=0.07, metavar="T", help="of the weights; default: 0.07")
    parser.add_argument(
        "--vote",
        choices=("weighted", "majority"),
        default="weighted",
        help="weighted by exp(similarity / T), as in DINO (arXiv 2104.14294), or one vote each",
    )
    parser.add_argument(
        "--task",
        help="take what is known of the images from this task's data, with --data.table "
        "FILE, and not from class folders; every --data.* flag of `maekit fit` applies",
    )
    parser.add_argument("--batch_size", type=int, default=1024, help="images classified at a time")
    add_device_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object; accuracies are 0 to 1")


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Prints top-1 and top-5 accuracy, or what suits labels, values and grades, for each number of neighbours."""
    if args.task is None and any(flag.startswith("--data.") for flag in flags):
        raise UserError(f"got '{flags[0]}' without --task, expected a task whose flag it is; add --task TASK")
    if args.task is None:
        parser.parse_args(flags)  # refuses unknown flags
    counts = _counts(args.neighbours)
    check_least("batch_size", args.batch_size, 1)
    if not args.temperature > 0:
        raise UserError(f"--temperature: got {args.temperature}, expected above 0; --vote majority needs none")
    if (args.features is None) == (args.train is None and args.val is None) or (args.train is None) != (
        args.val is None
    ):
        raise UserError("give --train DIR and --val DIR, or --features DIR alone (leave-one-out)")
    temperature = args.temperature if args.vote == "weighted" else None
    from maekit.features.files.folder import read_features

    bank = read_features(args.features or args.train)
    queries = bank if args.features else read_features(args.val)
    read = Read(bank, queries, None, []) if args.task is None else read_told(args.task, flags, bank, queries)
    bank, queries, told, notes = read
    if told is None:
        table = accuracies(bank, queries, counts, temperature, args.device, args.batch_size)
    else:
        table = told.measured(_nearest(bank, queries, counts, args.device, args.batch_size), counts, temperature)
    names = {"train": str(bank.path), "val": str(queries.path)}
    sizes = {"num_train": len(bank.files), "num_val": len(queries.files)}
    if args.json:
        sizes |= {"num_classes": len(bank.classes)} if told is None else {f"num_{told.kind}": len(told.names)}
        print(json.dumps({**names, **sizes, "vote": args.vote, "temperature": temperature, "neighbours": table}))
        return 0
    others = "each by all others" if args.features else f"by the {len(bank.files):,} of {bank.path}"
    way = f"weighted vote, T = {temperature:g}" if temperature else "majority vote"
    what = f"{len(bank.classes)} classes" if told is None else told.words()
    print(f"{len(queries.files):,} images of {queries.path}, {others}; {what}; {way}")
    print("\n".join([*notes, *_lines(table)]))
    return 0


def _lines(table: dict[int, dict[str, float]]) -> list[str]:
    """The table: accuracies in percent, all else as it is."""
    percent = {"top1": "top-1 %", "top5": "top-5 %", "accuracy": "accuracy %"}
    names = list(next(iter(table.values())))
    lines = ["neighbours" + "".join(f"   {percent.get(name, name):>7}" for name in names)]
    for count, row in table.items():
        cells = (f"{100 * row[n]:.2f}" if n in percent else f"{row[n]:.4f}" for n in names)
        widths = (len(f"{percent.get(name, name):>7}") for name in names)
        lines.append(f"{count:>10}" + "".join(f"   {cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    return lines


def accuracies(
    bank: "FeatureFolder",
    queries: "FeatureFolder",
    counts: list[int],
    temperature: float | None,
    device: str,
    batch_size: int,
) -> dict[int, dict[str, float]]:
    """Returns `top1` and `top5`, 0 to 1, for each number of neighbours; the neighbours are searched once."""
    from maekit.features.neighbours.knn import Neighbours, top_k_accuracy, vote

    for folder in (bank, queries):
        if folder.labels is None:
            raise UserError(
                f"{folder.path}: its features have no labels; embed a folder of two or more class folders, "
                "FOLDER/<class>/*.jpg, or say which data they are of: --task TASK --data.table FILE"
            )
    assert bank.labels is not None
    assert queries.labels is not None
    _require_same_classes(bank, queries)
    found = _nearest(bank, queries, counts, device, batch_size)
    table = {}
    for count in counts:
        near = Neighbours(found.similarity[:, :count], found.rows[:, :count])
        scores = vote(near, bank.labels, len(bank.classes), temperature)
        table[count] = {f"top{k}": top_k_accuracy(scores, queries.labels, k) for k in (1, 5)}
    return table


def _nearest(
    bank: "FeatureFolder", queries: "FeatureFolder", counts: list[int], device: str, batch_size: int
) -> "Neighbours":
    from maekit.features.neighbours.knn import nearest_neighbours
    from maekit.system.hardware import choose_device

    _require_comparable(bank, queries)
    given = queries.features.to(choose_device(device))
    return nearest_neighbours(given, bank.features, max(counts), exclude_self=bank is queries, batch=batch_size)


def _counts(given: str) -> list[int]:
    try:
        counts = [int(word) for word in given.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise UserError(f"--neighbours: got '{given}', expected whole numbers of 1 or more, such as 5,10,20,50")
    return sorted(set(counts))


def _require_same_classes(bank: "FeatureFolder", queries: "FeatureFolder") -> None:
    """Refuses two folders with other classes."""
    if bank.classes != queries.classes:
        ours, theirs = set(bank.classes), set(queries.classes)
        words = [
            f"{where} alone has '{min(more)}'"
            for where, more in ((bank.path, ours - theirs), (queries.path, theirs - ours))
            if more
        ]
        raise UserError(f"the classes differ: {' and '.join(words)}; embed folders with the same class folders")


def _require_comparable(bank: "FeatureFolder", queries: "FeatureFolder") -> None:
    """Refuses two folders whose features were computed in another way."""
    for key in ("weights_hash", "pooling", "block", "transform"):
        if bank.metadata.get(key) != queries.metadata.get(key):
            raise UserError(
                f"{bank.path} and {queries.path} were embedded with another {key} ({bank.metadata.get(key)} and "
                f"{queries.metadata.get(key)}); embed both the same way"
            )
