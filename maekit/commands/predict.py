"""`maekit predict`: run a checkpoint on images. It trains nothing, so it needs no Lightning."""

import argparse
from pathlib import Path

from maekit.base.predict_options import PredictOptions
from maekit.commands.shared.flags import add_device_argument, check_least
from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.loaded_model import load_model
from maekit.commands.shared.output import refuse_results_among_images, results_folder
from maekit.runs.checkpoint_path import find_checkpoint, weights_line

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ckpt_path",
        required=True,
        help="a checkpoint, a run's folder (its best.ckpt, else last.ckpt), or `last` / `best` of the newest run",
    )
    parser.add_argument("--images", type=Path, required=True, help="an image, or a folder with images at any depth")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the results; those of the same checkpoint are replaced. Default: predictions, or where that "
        "is taken predictions2, predictions3 and so on",
    )
    parser.add_argument("--task", help="where the task is now, if its own file has moved")
    add_device_argument(parser)
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time")


def main(args: argparse.Namespace) -> int:
    """Predicts; names unreadable images and leaves them out. Returns 2 if no image could be read."""
    check_least("batch_size", args.batch_size, 1)
    path = find_checkpoint(args.ckpt_path, Path("runs"))
    given = GivenImages()
    files = given.find(args.images)
    model, card = load_model(path, args.device, args.task)
    given.input = card.input
    print(weights_line(path, card.step))
    with results_folder(args.output, path, card) as output:
        predictor = model.shown().predictor(card.input)
        writer = model.shown().prediction_writer(output, PredictOptions())
        if getattr(writer, "writes_images", True):
            refuse_results_among_images(args.images, output)
        device = next(model.parameters()).device
        given.choose_reading(files)
        done = 0
        for names, samples in given.batches(files, predictor.prepare, args.batch_size):
            for file, sample, found in zip(names, samples, predictor.predict(samples, device), strict=True):
                writer.write(file, sample.picture, found)
            done += len(names)
        written = writer.close()
        skipped = given.write_skipped(output)
    print(f"{done} images -> {written}{skipped}")
    return 0 if done else 2
