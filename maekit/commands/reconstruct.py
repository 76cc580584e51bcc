"""`maekit reconstruct`: mask images, and draw what a masked autoencoder predicts for the hidden patches."""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.base.predict_options import PredictOptions
from maekit.commands.shared.flags import add_device_argument, add_weights, check_least
from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.image_words import HELP, common_parent
from maekit.commands.shared.output import refuse_file, refuse_results_among_images
from maekit.errors import UserError
from maekit.system.progress import tracked

if TYPE_CHECKING:
    from maekit.pretraining.model import Pretrainer
    from maekit.pretraining.predictions import ReconstructionPredictor, ReconstructionWriter, Sample

    Batch = tuple[list[Path], list[Sample]]

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGES", help=HELP)
    add_weights(
        parser,
        "what has encoder and decoder: a file, a run's folder or number, a name such as mae_vit_base_full, or "
        "hf:OWNER/NAME; --model is the same",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("reconstructions"),
        help="folder of the pictures; its contact_sheet.png has the first 16",
    )
    parser.add_argument("--mask_ratio", type=float, default=0.75, help="share of the patches to hide; default: 0.75")
    parser.add_argument(
        "--masking", choices=("random", "block", "grid"), default="random", help="how they are chosen; default: random"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the masks; with it an image has one mask, whatever its name and company"
    )
    parser.add_argument(
        "--image_size",
        type=int,
        help="height and width in pixels of what the model is given: the whole short side of an image and as much of "
        "its middle; default: what the weights are for",
    )
    parser.add_argument(
        "--norm_pix_loss",
        choices=("auto", "true", "false"),
        default="auto",
        help="whether the decoder predicts normalised pixels; auto: as the file says, else as fits the images better",
    )
    add_device_argument(parser)
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def main(args: argparse.Namespace) -> int:
    """Reconstructs; names unreadable images and leaves them out. Returns 2 if no image could be read."""
    given = GivenImages()
    files = _check(args, given)
    import torch

    from maekit.pretraining.from_weights import assumptions
    from maekit.pretraining.guess_target import normalises
    from maekit.pretraining.predictions import ReconstructionPredictor, ReconstructionWriter

    model = _load(args)
    input = given.input = _input(model, args.weights)
    predictor = ReconstructionPredictor(model, input, seed=args.seed)
    writer = ReconstructionWriter(
        args.output, model.mask_ratio, PredictOptions(root=common_parent(files)), name="reconstructions"
    )
    lines = [_description(model, args)]
    device = torch.device(next(model.parameters()).device)
    given.choose_reading(files)
    stream = given.batches(files, predictor.prepare, args.batch_size)
    first = _first(stream)
    lines += [*_settle(model, predictor, first, args), *assumptions(args.weights)]
    if normalises(model):
        lines.append(
            "normalised pixels: each patch is drawn with its true mean and deviation, which the model does not predict"
        )
    if not args.json:
        print("\n".join(lines))
    batches = chain(first, stream)
    for names, samples in tracked(batches, "reconstruct", len(files), size=lambda batch: len(batch[0])):
        for file, sample, found in zip(names, samples, predictor.predict(samples, device), strict=True):
            writer.write(file, sample.picture, found)
    writer.close()
    skipped = given.write_skipped(writer.places.folder)
    _report(args, files, writer, model, lines, skipped)
    return 0 if writer.files else 2


def _check(args: argparse.Namespace, given: GivenImages) -> list[Path]:
    """Returns the image files; refuses all that can be refused before weights are read."""
    check_least("batch_size", args.batch_size, 1)
    if not 0 < args.mask_ratio < 1:
        raise UserError(f"--mask_ratio: got {args.mask_ratio:g}, expected above 0 and below 1 (the paper: 0.75)")
    refuse_file(args.output)
    files = given.find_all(args.images)
    for folder in given.folders:
        refuse_results_among_images(folder, args.output)
    return files


def _load(args: argparse.Namespace) -> "Pretrainer":
    from maekit.pretraining.from_weights import load_pretrainer
    from maekit.system.hardware import choose_device

    normalised = {"auto": None, "true": True, "false": False}[args.norm_pix_loss]
    chosen = choose_device(args.device)
    try:
        model = load_pretrainer(
            args.weights,
            image_size=args.image_size,
            mask_ratio=args.mask_ratio,
            masking=args.masking,
            norm_pix_loss=normalised,
        )
    except UserError as error:  # a model's own flags have a prefix that this command's do not
        raise UserError(str(error).replace("--model.mask", "--mask")) from error
    return model.to(chosen)


def _input(model: "Pretrainer", weights: str) -> dict[str, object]:
    """Returns the arguments of the evaluation transform: the whole short side, bands as the file says they are read."""
    from maekit.data.images.bands.facts import bands_of
    from maekit.weights.get.find import find_weights
    from maekit.weights.read.bands import require_readable
    from maekit.weights.read.metadata import recorded_input
    from maekit.weights.state.state_file import read_state

    state = read_state(find_weights(weights))
    require_readable(state.tensors, state.meta, weights)
    size = {"image_size": model.spec.image_size[0], "crop_fraction": 1.0}
    bands = bands_of(recorded_input(state.meta))
    if bands is None:
        return {**size, "mean": list(model.spec.mean), "std": list(model.spec.std)}
    return {**size, **bands.plain()}


def _first(stream: "Iterator[Batch]") -> "list[Batch]":
    """Returns the first batches, which hold at least as many images as `try_targets` needs."""
    from maekit.pretraining.guess_target import TRIED

    first: list[Batch] = []
    while sum(len(names) for names, _ in first) < TRIED and (batch := next(stream, None)):
        first.append(batch)
    return first


def _settle(
    model: "Pretrainer", predictor: "ReconstructionPredictor", first: "Sequence[Batch]", args: argparse.Namespace
) -> list[str]:
    """Decides whether predictions are of normalised pixels if the file does not say; returns what to tell the user.

    If it is given, by the file or the flag, and does not fit the images, that is a warning.
    """
    import torch

    from maekit.pretraining.from_weights import known_norm_pix_loss
    from maekit.pretraining.guess_target import TRIED, normalises, try_targets
    from maekit.pretraining.target import NormalisedPixels, Pixels

    samples = [sample for _, batch in first for sample in batch][:TRIED]
    if not samples or normalises(model) is None:
        return []
    pixels = torch.stack([sample.pixels for sample in samples]).to(next(model.parameters()).device)
    trial = try_targets(model, pixels, predictor.noise(samples))
    given = known_norm_pix_loss(args.weights) if args.norm_pix_loss == "auto" else args.norm_pix_loss == "true"
    if given is not None:
        doubt = trial.sure and trial.norm_pix_loss != given
        flag = str(trial.norm_pix_loss).lower()
        return [f"norm_pix_loss {str(given).lower()}, but {trial}; try --norm_pix_loss {flag}"] if doubt else []
    target = NormalisedPixels if trial.norm_pix_loss else Pixels
    model.head.target = target(pixels.shape[1] * model.backbone.patch_size**2)
    word, sure = str(trial.norm_pix_loss).lower(), "" if trial.sure else "not sure, "
    return [f"norm_pix_loss {word} ({sure}the file does not say): {trial}"]


def _description(model: "Pretrainer", args: argparse.Namespace) -> str:
    """Returns one line on the weights, the size of images and the masks."""
    from maekit.pretraining.masking import num_visible

    patches = model.backbone.grid[0] * model.backbone.grid[1]
    hidden, size = patches - num_visible(patches, model.mask_ratio), model.spec.image_size[0]
    return (
        f"{args.weights}: the middle {size}x{size} px of images with a short side of {size}, "
        f"{hidden} of {patches} patches hidden ({model.masking}, seed {args.seed})"
    )


def _report(
    args: argparse.Namespace,
    files: Sequence[Path],
    writer: "ReconstructionWriter",
    model: "Pretrainer",
    lines: Sequence[str],
    skipped: str,
) -> None:
    from maekit.pretraining.pictures import decibels

    done = len(writer.files)
    mean = sum(writer.psnr) / done if done else None
    if args.json:
        from maekit.pretraining.guess_target import normalises

        rows, seen = zip(writer.files, writer.psnr, writer.hidden, strict=True), set(writer.files)
        results = {
            "weights": args.weights,
            "output": str(args.output),
            "norm_pix_loss": normalises(model),
            "image_size": list(model.spec.image_size),
            "mask_ratio": args.mask_ratio,
            "masking": args.masking,
            "seed": args.seed,
            "said": list(lines),
            "psnr": mean,
            "images": [{"file": str(f), "psnr": psnr, "masked_patches": hidden} for f, psnr, hidden in rows],
            "left_out": [str(file) for file in files if file not in seen],
        }
        print(json.dumps(results))
        return
    quality = f" (mean {decibels(mean)})" if mean is not None else ""
    print(f"{done} images -> {writer.places.folder}{quality}{skipped}")
