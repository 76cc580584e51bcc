"""`maekit predict`: run a checkpoint on images. It trains nothing, so it needs no Lightning."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.predict_output import results_folder
from maekit.errors import UserError, nearest
from maekit.runs.checkpoint_path import find_checkpoint, weights_line

if TYPE_CHECKING:
    from maekit.base.checkpoint_card import Card
    from maekit.base.model import PredictionWriter, TransferModel

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
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
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time")


def main(args: argparse.Namespace) -> int:
    """Predicts; unreadable images are named and left out."""
    if args.batch_size < 1:
        raise UserError(f"--batch_size: got {args.batch_size}, expected 1 or more")
    path = find_checkpoint(args.ckpt_path, Path("runs"))
    given = GivenImages()
    files = image_files(args.images, given)
    model, card = load_model(path, args.device, args.task)
    given.input = dict(card.input)
    print(weights_line(path, card.step))
    with results_folder(args.output, path, card) as output:
        writer = model.prediction_writer(output, card.input)
        if writer_of_images(writer):
            refuse_results_among_images(args.images, output)
        device = next(model.parameters()).device
        given.look(files)
        done = 0
        for names, samples in batches(files, writer, args.batch_size, given):
            writer.write(names, samples, device)
            done += len(names)
        written = writer.close()
        skipped = given.finish(output)
    print(f"{done} images -> {written}{skipped}")
    return 0 if done else 2


def image_files(given: Path, notes: GivenImages) -> list[Path]:
    """The image itself, or every image below a folder in the order of their names; `notes` gets what is left out."""
    from maekit.data.folders.file_names import EXPECTED_IMAGES
    from maekit.data.folders.listing import scan_images

    if given.is_file():
        return [given]
    if not given.is_dir():
        near = nearest(given.name, [path.name for path in given.parent.iterdir()]) if given.parent.is_dir() else ""
        raise UserError(f"no image or folder {given}{near}")
    names, left_out = scan_images(given)
    if not names:
        raise UserError(f"{given}: no images in this folder, {EXPECTED_IMAGES}")
    notes.skipped += [(str(given / name), reason) for name, reason in left_out.reasons()]
    if left_out:
        notes.lines.append(f"{given}: {left_out.words()}")
    return [given / name for name in names]


def writer_of_images(writer: "PredictionWriter") -> bool:
    """Whether images are written; a writer that writes none says so (`writes_images = False`)."""
    return bool(getattr(writer, "writes_images", True))


def refuse_results_among_images(images: Path, output: Path) -> None:
    """Stops where the next run would find this one's results among its images."""
    folder = images.resolve()
    if images.is_dir() and output.resolve().is_relative_to(folder):
        where = "is the folder of the images" if output.resolve() == folder else f"lies in the images' folder {images}"
        raise UserError(
            f"--output {output}: {where}, where the next run would take the results for images; "
            f"choose a folder outside, such as {images.absolute().parent / 'predictions'}"
        )


def load_model(path: Path, device: str, task: str | None = None) -> "tuple[TransferModel, Card]":
    """The model of a checkpoint, ready to evaluate, and its card."""
    from maekit.base.checkpoint_card import read_card
    from maekit.recipes.tasks import find_task
    from maekit.system.hardware import choose_device

    chosen = choose_device(device)
    card = read_card(path)
    module = find_task(task or card.task).load()
    model: TransferModel = module.Model(card.spec, **card.config["model"])
    model.load_checkpoint(path)
    return model.eval().to(chosen), card


def batches(
    files: list[Path], writer: "PredictionWriter", size: int, given: GivenImages
) -> Iterator[tuple[list[Path], list[Any]]]:
    """Reads and prepares images, as many at a time as `size`; prints a line for each that cannot be read."""
    names: list[Path] = []
    samples: list[Any] = []
    for file in files:
        image = given.read(file)
        if image is None:
            continue
        try:
            samples.append(writer.prepare(image))
            names.append(file)
        except UserError as error:
            given.leave_out(file, str(error))
        if len(names) == size:
            yield names, samples
            names, samples = [], []
    if names:
        yield names, samples
