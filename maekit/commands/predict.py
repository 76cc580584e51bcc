"""`maekit predict`: run a model on images. It trains nothing, so it needs no Lightning."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.base.predict_options import TOP, PredictOptions
from maekit.base.tile_options import TileOptions
from maekit.commands.shared.flags import OneValue, add_device_argument, check_least
from maekit.commands.shared.full_pictures import FullPictures
from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.image_words import HELP, common_parent
from maekit.commands.shared.output import refuse_file, refuse_results_among_images
from maekit.commands.shared.prediction_source import PredictionSource, find_model, open_source
from maekit.commands.shared.results_folder import results_folder
from maekit.commands.shared.stopwatch import Stopwatch
from maekit.commands.shared.tiled_images import add_tile_arguments, choose_tiled, predict_tiled
from maekit.errors import UserError
from maekit.system.numbers import plural
from maekit.system.progress import Progress

if TYPE_CHECKING:
    from maekit.base.shown import PredictionWriter

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("given_images", nargs="*", metavar="IMAGES", help=HELP)
    parser.add_argument(
        "--model",
        "--ckpt_path",
        action=OneValue,
        metavar="RUN_OR_FILE",
        help="a run's folder or number (its best.ckpt, else last.ckpt), a checkpoint, a file of `maekit export`, or "
        "`last` / `best` of the newest run; --ckpt_path is the same",
    )
    parser.add_argument("--images", action="append", metavar="IMAGES", help="the same as IMAGES")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the results; those of an earlier call of the same model are replaced. Default: predictions, or "
        "where that is taken predictions2, predictions3 and so on",
    )
    parser.add_argument(
        "--top", type=int, help=f"of classes: how many of an image are listed, the best first; default: {TOP}"
    )
    parser.add_argument(
        "--score",
        type=float,
        help="the lowest score, 0 to 1, of what is listed and drawn; default: 0.3 for objects, the model's threshold "
        "for labels, 0 for classes",
    )
    parser.add_argument("--crops", action="store_true", help="of objects: write each as a picture of its own")
    parser.add_argument(
        "--tables_only", action="store_true", help="write tables and label maps, and no pictures for people"
    )
    add_tile_arguments(parser)
    parser.add_argument("--task", help="where the task is now, if its own file has moved")
    add_device_argument(parser)
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time")


def main(args: argparse.Namespace) -> int:
    """Predicts; names unreadable images and leaves them out. Returns 2 if no image could be read."""
    check_least("batch_size", args.batch_size, 1)
    options = PredictOptions(top=args.top, score=args.score, crops=args.crops, pictures=not args.tables_only)
    tiling = TileOptions(args.tile, args.overlap, args.scale)
    refuse_file(args.output)
    given = GivenImages()
    path, words = find_model(_one_model(args)), _given_images(args)
    files = given.find_all(words)
    source = open_source(path, args.device, args.task)
    given.input = source.input
    print(source.line, flush=True)
    with results_folder(args.output, source.record) as output:
        pictures = FullPictures(given)
        options = replace(options, root=common_parent(files), full_picture=pictures)
        writer = source.writer(output, options)
        if writer.writes_images:
            for folder in given.folders:
                refuse_results_among_images(folder, output)
        given.choose_reading(files)
        tiled = choose_tiled(tiling, source.tiled, files, given)
        whole = [file for file in files if tiled is None or file not in tiled.files]
        done, watch = predict(source, writer, given, whole, args.batch_size)
        if tiled is not None:
            done += predict_tiled(tiled, writer, given, output, source.device, pictures.open, watch)
        written = writer.close()
        watch.lap("writing")
        skipped = given.write_skipped(output)
    if done:
        print(f"time    {watch.line(done)}")
    print(f"{plural(done, 'image')} -> {written}{skipped}")
    return 0 if done else 2


def predict(
    source: PredictionSource, writer: "PredictionWriter", given: GivenImages, files: Sequence[Path], batch_size: int
) -> tuple[int, Stopwatch]:
    """Predicts and writes all images that can be read; returns how many, and where the time went."""
    done, watch = 0, Stopwatch()
    with Progress("predict", len(files)) as progress:
        for names, samples in given.batches(files, source.predictor.prepare, batch_size):
            watch.lap("reading")
            predictions = source.predictor.predict(samples, source.device)
            for file, sample, found in zip(names, samples, predictions, strict=True):
                watch.lap("model")
                writer.write(file, sample.picture, found)
                watch.lap("writing")
            done += len(names)
            progress.advance(len(names))
    return done, watch


def _one_model(args: argparse.Namespace) -> str:
    """Returns the value of --model or --ckpt_path."""
    if args.model is None:
        raise UserError("--model is required: a run's folder or number, a checkpoint, or `last` or `best`")
    return str(args.model)


def _given_images(args: argparse.Namespace) -> list[str]:
    """Returns the words that name images, before the flags or after --images."""
    flagged = list(dict.fromkeys(args.images or ()))
    if not flagged and not args.given_images:
        raise UserError("IMAGES are required: files, folders, a pattern in quotes, or a list such as @files.txt")
    if flagged and args.given_images and flagged != args.given_images:
        raise UserError(
            f"got images twice: {' '.join(args.given_images)} and --images {' '.join(flagged)}; leave --images out and "
            "name all images before the flags"
        )
    return [*(args.given_images or flagged)]
