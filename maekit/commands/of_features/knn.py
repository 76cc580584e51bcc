"""`maekit knn`: tell classes, labels, values, grades or label maps of images by their nearest features, untrained."""

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
    from maekit.features.patches.folder import PatchFolder

FORWARDS = True
# Of images: facebookresearch/dino @ 7c446df, eval_knn.py. Of patches, for arXiv 2306.01667: hbird_eval.py of
# vpariza/open-hummingbird-eval @ 0fd976f (30 neighbours, a temperature of 0.02), its README (a memory of 1024 x 10^4).
NEIGHBOURS, TEMPERATURE = "20", 0.07
PATCH_NEIGHBOURS, PATCH_TEMPERATURE, BANK_SIZE = "30", 0.02, 10_240_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-h", "--help", action="help", help="this help")
    parser.add_argument("--train", type=Path, metavar="DIR", help="features with labels, whose images vote")
    parser.add_argument(
        "--val", type=Path, metavar="DIR", help="features with labels of the same classes, which are classified"
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="instead of both: each image by all others (leave-one-out); of patches the data's validation images by "
        "its training images",
    )
    parser.add_argument(
        "--neighbours",
        metavar="N,...",
        help=f"how many vote; several as 5,10,20,50; default: {NEIGHBOURS}, of patches {PATCH_NEIGHBOURS}",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help=f"of the weights; default: {TEMPERATURE}, of patches {PATCH_TEMPERATURE}",
    )
    parser.add_argument(
        "--vote",
        choices=("weighted", "majority"),
        default="weighted",
        help="weighted by exp(similarity / T), as in DINO (arXiv 2104.14294), or one vote each",
    )
    parser.add_argument(
        "--task",
        help="take what is known of the images from this task's data, with --data.table "
        "FILE, and not from class folders; every --data.* flag of `maekit fit` applies. Features of --patches need it: "
        "a task of segmentation, whose label maps vote patch by patch (arXiv 2306.01667)",
    )
    parser.add_argument(
        "--labels",
        choices=("soft", "majority"),
        help="of patches: a share for each class in it, or the class of most of its pixels; default: soft",
    )
    parser.add_argument(
        "--bank_size",
        type=int,
        metavar="N",
        help=f"most patches that vote; where there are more, each image gives its part; default: {BANK_SIZE:,}",
    )
    parser.add_argument("--batch_size", type=int, default=1024, help="images, or patches, compared at a time")
    add_device_argument(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object; accuracies are 0 to 1, mIoU and its like 0 to 100"
    )


def main(args: argparse.Namespace, flags: list[str], parser: argparse.ArgumentParser) -> int:
    """Prints top-1 and top-5 accuracy, or what suits labels, values and grades, for each number of neighbours."""
    if args.task is None and any(flag.startswith("--data.") for flag in flags):
        raise UserError(f"got '{flags[0]}' without --task, expected a task whose flag it is; add --task TASK")
    if args.task is None:
        parser.parse_args(flags)  # refuses unknown flags
    for flag in ("batch_size", "bank_size"):
        check_least(flag, getattr(args, flag), 1)
    if args.temperature is not None and not args.temperature > 0:
        raise UserError(f"--temperature: got {args.temperature}, expected above 0; --vote majority needs none")
    if (args.features is None) == (args.train is None and args.val is None) or (args.train is None) != (
        args.val is None
    ):
        raise UserError("give --train DIR and --val DIR, or --features DIR alone (leave-one-out)")
    if args.neighbours is not None:
        _counts(args.neighbours)
    from maekit.features.patches.folder import holds_patches

    if holds_patches(args.features or args.train):
        return _segment(args, flags)
    for flag in ("labels", "bank_size"):
        if getattr(args, flag) is not None:
            raise UserError(f"--{flag}: got it for features of images, expected those of patches; embed with --patches")
    return _classify(args, flags)


def _classify(args: argparse.Namespace, flags: list[str]) -> int:
    """Tells what is known of whole images."""
    from maekit.features.files.folder import read_features

    counts, temperature = _counts(args.neighbours or NEIGHBOURS), _temperature(args, TEMPERATURE)
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
    what = f"{len(bank.classes)} classes" if told is None else told.words()
    print(f"{len(queries.files):,} images of {queries.path}, {others}; {what}; {_way(temperature)}")
    print("\n".join([*notes, *_lines(table)]))
    return 0


def _segment(args: argparse.Namespace, flags: list[str]) -> int:
    """Segments images by the nearest patches of others."""
    if args.task is None:
        raise UserError(
            f"{args.features or args.train}: got features of patches and no --task, expected one whose data have their "
            "label maps; add --task TASK --data.root DIR"
        )
    from maekit.commands.shared.told_pixels import told_pixels
    from maekit.features.patches.folder import read_patches

    bank = read_patches(args.features or args.train)
    queries = bank if args.features else read_patches(args.val)
    _require_comparable(bank, queries)
    counts, temperature = _counts(args.neighbours or PATCH_NEIGHBOURS), _temperature(args, PATCH_TEMPERATURE)
    told = told_pixels(
        args.task, flags, bank, queries, soft=args.labels != "majority", most=args.bank_size or BANK_SIZE
    )
    table = told.measured(counts, temperature, args.device, args.batch_size)
    if args.json:
        print(json.dumps({**told.facts(), "vote": args.vote, "temperature": temperature, "neighbours": table}))
        return 0
    print(f"{told.words()}; {_way(temperature)}")
    print("\n".join([*told.notes, *_lines(table)]))
    return 0


def _temperature(args: argparse.Namespace, usual: float) -> float | None:
    return (args.temperature or usual) if args.vote == "weighted" else None


def _way(temperature: float | None) -> str:
    return f"weighted vote, T = {temperature:g}" if temperature else "majority vote"


def _lines(table: dict[int, dict[str, float]]) -> list[str]:
    """The table: accuracies in percent, all else as it is."""
    if "mIoU" in next(iter(table.values())):
        table = {count: {f"{name} %": value for name, value in row.items()} for count, row in table.items()}
    percent = {"top1": "top-1 %", "top5": "top-5 %", "accuracy": "accuracy %"}
    names = list(next(iter(table.values())))
    lines = ["neighbours" + "".join(f"   {percent.get(name, name):>7}" for name in names)]
    for count, row in table.items():
        cells = (_cell(100 * row[n] if n in percent else row[n], n in percent or n.endswith("%")) for n in names)
        widths = (len(f"{percent.get(name, name):>7}") for name in names)
        lines.append(f"{count:>10}" + "".join(f"   {cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    return lines


def _cell(value: float, percent: bool) -> str:
    return f"{value:.2f}" if percent else f"{value:.4f}"


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


def _require_comparable(bank: "FeatureFolder | PatchFolder", queries: "FeatureFolder | PatchFolder") -> None:
    """Refuses two folders whose features were computed in another way."""
    for key in ("pooling", "patch_view", "transform", "block", "weights_hash"):
        if bank.metadata.get(key) != queries.metadata.get(key):
            raise UserError(
                f"{bank.path} and {queries.path} were embedded with another {key} ({bank.metadata.get(key)} and "
                f"{queries.metadata.get(key)}); embed both the same way"
            )
