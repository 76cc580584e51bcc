"""`maekit export`: write a model as a file that other programs run, and check that the file computes the same."""

import argparse
from pathlib import Path

from maekit.commands.shared.flags import check_least
from maekit.errors import UserError

FORWARDS = False
DESCRIPTION = (
    "write a model as ONNX or in torch.export's format, with the constants of its preprocessing, class names "
    "and thresholds inside; then run the file on validation images and compare it with torch. A file that differs is "
    "not kept under its name: it becomes model.refused.onnx, and the exit status is 2."
)
EPILOG = """what is written, and which sizes images may have (their number is free everywhere):
  classification   logits, probabilities              any multiples of the patch
  labels           logits, probabilities              any multiples of the patch
  values           values, in the unit of the data    any multiples of the patch
  grades           grade, probabilities, logits       any multiples of the patch
  segmentation     logits [B, C, h, w] of a window    any from four patches on
  detection        count, boxes, scores, labels,      the square, into which
                   masks                              pictures are fitted
  --features       features, patches [B, D, h, w]     any multiples of the patch
  pre-training     features, patches of its encoder   any multiples of the patch

`maekit predict --model FILE` runs the file, and joins the windows of a segmenter
to images of any size. Features of ViTs with tables of relative position biases
(BEiT, data2vec, SimMIM) or with windows have one size. docs/export.md says more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run's folder or number (its best.ckpt, else last.ckpt), a checkpoint, `last` or `best` of the newest "
        "run; with --features also a file of weights or its name, such as mae_vit_base",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the file to make, which is not there yet; default: model.onnx, or features.onnx, model_int8.onnx, "
        "model.pt2 and so on, beside the checkpoint",
    )
    parser.add_argument("--to", choices=("onnx", "torch"), help="ONNX, or torch.export's .pt2")
    parser.add_argument("--features", action="store_true", help="the backbone's features instead of predictions")
    parser.add_argument("--opset", type=int, help="version of ONNX's operators, 18 to 23; default: 20")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="of an ONNX file: fp16 halves it, int8 quantises the weights of its layers; the metric of the validation "
        "images before and after is measured, and decides",
    )
    parser.add_argument("--samples", type=int, default=64, help="images to compare on; default: 64")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="compare on the images of this folder instead of the validation's"
    )
    parser.add_argument("--root", "--data.root", metavar="DIR", help="where the run's data are now")
    parser.add_argument(
        "--limit",
        type=float,
        help="largest difference of fp32 outputs, in units of their largest value where that is above 1 (default: "
        "1e-4); of fp16 and int8 the share by which the metric may get worse, or with --images of predictions that "
        "may differ (default: 0.01)",
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="write nothing: compare this file with the run")
    parser.add_argument("--task", help="where the task is now, if its own file has moved")
    parser.add_argument("--batch_size", type=int, default=16, help="images at a time; default: 16")


def main(args: argparse.Namespace) -> int:
    """Exports or checks; returns 2 where the file does not compute the same."""
    _check_flags(args)
    from maekit.commands.shared.exported import export, recheck

    for line in recheck(args) if args.check is not None else export(args):
        print(line)
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    for flag, value in (("samples", args.samples), ("batch_size", args.batch_size)):
        check_least(flag, value, 1)
    if args.limit is not None and not args.limit >= 0:
        raise UserError(f"--limit: got {args.limit}, expected 0 or more")
    if args.check is not None and (args.to or args.output or args.opset is not None or args.precision != "fp32"):
        raise UserError("got --check with --to, --output, --opset or --precision, expected it alone: it writes nothing")
    if args.check is None and args.to is None:
        raise UserError("no format given; add --to onnx or --to torch, or --check FILE to compare a file that is there")
    if args.to == "torch" and (args.precision != "fp32" or args.opset is not None):
        flag = "--opset" if args.opset is not None else f"--precision {args.precision}"
        raise UserError(f"got {flag} with --to torch, expected it with --to onnx alone; leave it out")
    if args.images is not None and args.root is not None:
        raise UserError("got --images and --data.root, expected one of them: both say which images to compare on")
