"""`maekit knn`: classify images by their nearest features, without training."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.flags import add_device_argument, check_least
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.features.files.folder import FeatureFolder

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--batch_size", type=int, default=1024, help="images classified at a time")
    add_device_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object; accuracies are 0 to 1")


def main(args: argparse.Namespace) -> int:
    """Prints top-1 and top-5 accuracy for each number of neighbours."""
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
    table = accuracies(bank, queries, counts, temperature, args.device, args.batch_size)
    names = {"train": str(bank.path), "val": str(queries.path)}
    if args.json:
        sizes = {"num_train": len(bank.files), "num_val": len(queries.files), "num_classes": len(bank.classes)}
        print(json.dumps({**names, **sizes, "vote": args.vote, "temperature": temperature, "neighbours": table}))
        return 0
    others = "each by all others" if args.features else f"by the {len(bank.files):,} of {bank.path}"
    way = f"weighted vote, T = {temperature:g}" if temperature else "majority vote"
    print(f"{len(queries.files):,} images of {queries.path}, {others}; {len(bank.classes)} classes; {way}")
    print("neighbours   top-1 %   top-5 %")
    for count, row in table.items():
        print(f"{count:>10}   {100 * row['top1']:7.2f}   {100 * row['top5']:7.2f}")
    return 0


def accuracies(
    bank: "FeatureFolder",
    queries: "FeatureFolder",
    counts: list[int],
    temperature: float | None,
    device: str,
    batch_size: int,
) -> dict[int, dict[str, float]]:
    """Returns `top1` and `top5`, 0 to 1, for each number of neighbours; the neighbours are searched once."""
    from maekit.features.neighbours.knn import Neighbours, nearest_neighbours, top_k_accuracy, vote
    from maekit.system.hardware import choose_device

    for folder in (bank, queries):
        if folder.labels is None:
            raise UserError(
                f"{folder.path}: its features have no labels; embed a folder of two or more class folders, "
                "FOLDER/<class>/*.jpg"
            )
    assert bank.labels is not None
    assert queries.labels is not None
    _require_comparable(bank, queries)
    given = queries.features.to(choose_device(device))
    found = nearest_neighbours(given, bank.features, max(counts), exclude_self=bank is queries, batch=batch_size)
    table = {}
    for count in counts:
        near = Neighbours(found.similarity[:, :count], found.rows[:, :count])
        scores = vote(near, bank.labels, len(bank.classes), temperature)
        table[count] = {f"top{k}": top_k_accuracy(scores, queries.labels, k) for k in (1, 5)}
    return table


def _counts(given: str) -> list[int]:
    try:
        counts = [int(word) for word in given.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise UserError(f"--neighbours: got '{given}', expected whole numbers of 1 or more, such as 5,10,20,50")
    return sorted(set(counts))


def _require_comparable(bank: "FeatureFolder", queries: "FeatureFolder") -> None:
    """Refuses two folders with other classes, or whose features were computed in another way."""
    if bank.classes != queries.classes:
        ours, theirs = set(bank.classes), set(queries.classes)
        words = [
            f"{where} alone has '{min(more)}'"
            for where, more in ((bank.path, ours - theirs), (queries.path, theirs - ours))
            if more
        ]
        raise UserError(f"the classes differ: {' and '.join(words)}; embed folders with the same class folders")
    for key in ("weights_hash", "pooling", "block", "transform"):
        if bank.metadata.get(key) != queries.metadata.get(key):
            raise UserError(
                f"{bank.path} and {queries.path} were embedded with another {key} ({bank.metadata.get(key)} and "
                f"{queries.metadata.get(key)}); embed both the same way"
            )
