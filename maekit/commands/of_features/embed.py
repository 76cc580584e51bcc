"""`maekit embed`: compute the features of a folder of images, to use without fine-tuning."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.flags import add_device_argument, add_weights_argument, check_least, parse_image_size
from maekit.commands.shared.given_images import GivenImages
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.features.extractor import Extractor
    from maekit.features.images import ImageFolder
    from maekit.features.patches.plan import PatchPlan
    from maekit.features.source import Source

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images at any depth; class folders give labels")
    add_weights_argument(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the features, best beside FOLDER (no images are written, so within it does no harm). The same "
        "command again goes on where it was stopped",
    )
    parser.add_argument(
        "--pooling",
        choices=("class", "mean", "patches"),
        help="the class token, the mean of the patch tokens, or all patch tokens of the square, [N, h*w, D]; default: "
        "mean for weights without a class token or fine-tuned with mean pooling, else class",
    )
    parser.add_argument(
        "--patches",
        action="store_true",
        help="all patches of whole images, none of which is cut off, for `maekit knn` on label maps, `maekit pca` and "
        "`maekit similar --patch`: features.npy [R, D], the images one after the other, and grids.npy [N, 2], each "
        "image's patches (h, w)",
    )
    parser.add_argument(
        "--block", type=int, default=-1, help="take the tokens after this block, from 0 or from the end; default: last"
    )
    parser.add_argument(
        "--image_size",
        help="side in pixels of the square that the model is given; with --patches the short side, the image keeping "
        "its shape up to whole patches, or HEIGHTxWIDTH, as 512x512, into which each is squeezed; default: the "
        "weights' own",
    )
    parser.add_argument(
        "--crop_fraction", type=float, help="centre crop's share of the short side; default: the weights' own, or 0.875"
    )
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time")
    parser.add_argument("--num_workers", type=int, help="processes that read images; default: by the cores")
    add_device_argument(parser)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the backbone's arithmetic")
    parser.add_argument("--half", action="store_true", help="store float16 instead of float32")
    parser.add_argument(
        "--format", choices=("npy", "parquet"), default="npy", help="of the features; knn and the others read npy"
    )


def main(args: argparse.Namespace) -> int:
    """Embeds; counts unreadable images and names them in skipped.txt."""
    check(args)
    from maekit.features.embedding import embed_folder
    from maekit.features.extractor import make_extractor
    from maekit.features.images import find_images

    size = parse_image_size(args.image_size)
    images = find_images(args.folder)
    source = source_for(images, args.weights, whole=args.patches)
    extractor = make_extractor(
        source,
        pooling=args.pooling,
        block=args.block,
        image_size=size if isinstance(size, int) and not args.patches else None,
        crop_fraction=args.crop_fraction,
        precision=args.precision,
        device=args.device,
        whole=(size or source.input["image_size"]) if args.patches else None,
    )
    if not extractor.vit.has_class_token and extractor.pooling == "mean" and args.pooling is None:
        print(f"note: {args.weights} has no class token: the features are the mean of its patch tokens")
    if not extractor.vit.has_final_norm:
        print(f"note: {_without_norm(args.weights, extractor.pooling, given=args.pooling is not None)}")
    for line in source.assumed:
        print(line)
    if images.left_out:
        print(f"{images.left_out.words()}; see skipped.txt")
    if images.note:
        print(images.note)
    plan = None if extractor.whole is None else planned(images, extractor, args.output, half=args.half)
    counts = embed_folder(
        images,
        extractor,
        args.output,
        half=args.half,
        file_format=args.format,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        plan=plan,
    )
    shape = " x ".join(f"{number:,}" for number in (counts.rows, *extractor.shape))
    classes = f" of {len(images.classes)} classes" if images.classes else ""
    skipped = f"; {counts.skipped:,} could not be read, see skipped.txt" if counts.skipped else ""
    print(f"{counts.kept:,} images{classes} -> {args.output / f'features.{args.format}'} ({shape}){skipped}")
    return 0


def planned(images: "ImageFolder", extractor: "Extractor", output: Path, *, half: bool) -> "PatchPlan":
    """Counts the patches of all images, prints what their features need on the disk, and refuses what does not fit."""
    from maekit.features.patches.plan import gib, plan_patches, require_room

    assert extractor.whole is not None
    plan = plan_patches(images, extractor.reading, extractor.whole, extractor.vit.patch_size)
    count = int(plan.counts().sum())
    needed = count * extractor.vit.embed_dim * (2 if half else 4)
    there = sum(path.stat().st_size for path in output.glob("features.*") if path.suffix in (".npy", ".partial"))
    print(
        f"{count:,} patches of {len(images):,} images, {extractor.vit.embed_dim:,} numbers of {16 if half else 32} "
        f"bits each: {gib(needed)}",
        flush=True,
    )
    require_room(output, needed, there, half)
    extractor.try_grids(plan.grids)
    return plan


def _without_norm(weights: str, pooling: str, *, given: bool) -> str:
    """Returns a line on what the features are of weights whose class token was not trained."""
    why = f"{weights} has no final norm, as files that were fine-tuned with mean pooling"
    if pooling == "class":
        return f"{why}: its class token was not trained, and is raw; --pooling mean takes the mean of the patch tokens"
    if pooling == "mean" and not given:
        return f"{why}: the features are the mean of its patch tokens (--pooling class takes the class token)"
    return f"{why}: the features are raw tokens"


def source_for(images: "ImageFolder", weights: str, *, whole: bool) -> "Source":
    """Finds the weights; if they do not record what is white in pictures of more than 8 bits, a sample decides it."""
    from dataclasses import replace

    from maekit.features.source import find_source

    source = find_source(weights, whole=whole)
    given = GivenImages(source.input)
    given.choose_reading([images.root / images.names[index] for index in range(len(images))])
    white = given.reading.plain().get("white") if given.reading else None
    return source if white is None else replace(source, input={"clip": False, **source.input, "white": white})


def check(args: argparse.Namespace) -> None:
    """Refuses flags out of their range before anything is loaded."""
    for name, least in (("batch_size", 1), ("num_workers", 0)):
        check_least(name, getattr(args, name), least)
    size = parse_image_size(args.image_size)
    if args.patches:
        for flag, value in (("pooling", args.pooling), ("crop_fraction", args.crop_fraction)):
            if value not in (None, "patches"):
                raise UserError(
                    f"--{flag} {value}: got it with --patches, which keeps all patches of whole images; leave one out"
                )
        if args.format == "parquet":
            raise UserError("--format parquet holds one vector an image, not --patches; use --format npy")
    elif size is not None and not isinstance(size, int):
        raise UserError(
            f"--image_size: got '{args.image_size}', expected the side of a square in pixels; add --patches for whole "
            "images"
        )
    if args.crop_fraction is not None and not 0 < args.crop_fraction <= 1:
        raise UserError(f"--crop_fraction: got {args.crop_fraction}, expected above 0 and at most 1")
    if args.format == "parquet":
        if args.pooling == "patches":
            raise UserError("--format parquet holds one vector an image, not --pooling patches; use --format npy")
        from maekit.features.files.parquet import require_pyarrow

        require_pyarrow()
