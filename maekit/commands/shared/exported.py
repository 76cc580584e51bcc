"""Exports a model and checks the file; or checks a file that is there."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.export_subject import Subject, find_subject
from maekit.commands.shared.given_images import GivenImages
from maekit.errors import UserError
from maekit.runs.folder import shown

if TYPE_CHECKING:
    from maekit.base.data import TransferData
    from maekit.base.exportable import GraphModel
    from maekit.export.graph.check import Check
    from maekit.export.graph.samples import Samples


def export(args: argparse.Namespace) -> list[str]:
    """Writes the file that the flags ask for, and checks it before it gets its name.

    Returns:
        Lines on what was found.

    Raises:
        UserError: nothing can be written; or the file does not compute the same, and has another name then.
    """
    from maekit.export.graph.libraries import library
    from maekit.export.graph.make import ENDING, Wanted, settle, work_folder, write
    from maekit.export.graph.onnx_file import check_opset
    from maekit.export.graph.run import open_graph

    if args.to == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            library(name, "--to onnx")
    if args.opset is not None:
        check_opset(args.opset)
    if args.images is not None:
        GivenImages().find(args.images)  # before the model is loaded
    if args.output is not None:
        Wanted(args.to, args.output, args.precision, args.opset)  # refuses its name before the model is loaded
    subject = find_subject(args.run, features=args.features, task=args.task)
    for line in subject.lines:
        print(line)
    name = "features" if subject.kind == "features" else "model"
    name += "" if args.precision == "fp32" else f"_{args.precision}"
    wanted = Wanted(args.to, args.output or subject.folder / f"{name}{ENDING[args.to]}", args.precision, args.opset)
    data, samples = _samples(args, subject, args.precision)
    with work_folder(wanted.out) as folder:
        file, taken, lines = write(subject.exportable, wanted, folder, subject.origin)
        subject = replace(subject, exportable=taken)
        check = _checked(args, subject, open_graph(file), samples, data, args.precision)
        place = settle(file, wanted.out, check)
    return _outcome(place, [*lines, *_lines(check)], check)


def recheck(args: argparse.Namespace) -> list[str]:
    """Compares a file that is there with a run, and writes its check anew.

    Returns:
        Lines on what was found.

    Raises:
        UserError: the file is of another model, or does not compute the same.
    """
    from maekit.export.graph.make import checks_of
    from maekit.export.graph.metadata import describe, require_same
    from maekit.export.graph.run import open_graph
    from maekit.system.files import write_json

    file = open_graph(args.check)
    kind, precision = file.metadata.get("kind"), str(file.metadata.get("precision"))
    if args.features and kind != "features":
        raise UserError(f"{args.check} holds predictions, got --features; leave the flag out")
    subject = find_subject(args.run, features=kind == "features", task=args.task)
    for line in subject.lines:
        print(line)
    require_same(file.metadata, describe(subject.exportable, origin=subject.origin), str(args.check))
    if file.metadata["size"] == "fixed":  # as of a head that binds its graph, or by an earlier maekit
        subject = replace(subject, exportable=replace(subject.exportable, side_multiple=0))
    data, samples = _samples(args, subject, precision)
    check = _checked(args, subject, file, samples, data, precision)
    write_json(checks_of(args.check), check.plain())
    return _outcome(args.check, _lines(check), check)


def _samples(args: argparse.Namespace, subject: Subject, precision: str) -> "tuple[TransferData | None, Samples]":
    """Returns the images to compare on; and the run's data where its metric is to be measured."""
    from maekit.export.graph.samples import of_files, of_noise, of_validation

    if args.images is not None:
        given = GivenImages(input=subject.exportable.metadata["input"])  # type: ignore[arg-type]
        files = given.find(args.images)
        return None, of_files(files, args.images, subject.exportable, args.samples, args.batch_size)
    try:
        data = subject.data(args.root)
        samples = of_validation(data, subject.exportable, args.samples, args.batch_size)
    except UserError as error:
        if args.root is not None or precision != "fp32":
            advice = "give --data.root DIR, or --images DIR to count equal predictions"
            raise UserError(f"the file cannot be compared on validation images ({error}); {advice}") from error
        print(f"        no validation images to compare on: {error}; made noise is used, or give --images DIR")
        return None, of_noise(subject.exportable, args.samples, args.batch_size)
    measured = precision != "fp32" and subject.exportable.evaluated_with is not None
    return data if measured else None, samples


def _checked(
    args: argparse.Namespace,
    subject: Subject,
    file: "GraphModel",
    samples: "Samples",
    data: "TransferData | None",
    precision: str,
) -> "Check":
    from maekit.export.graph.check import compare, judge
    from maekit.export.graph.measure import metric_of, worse_by

    check = compare(subject.exportable, file, samples)
    if data is not None and subject.model is not None:
        name, mode = subject.model.monitor
        before, after = (
            metric_of(subject.model, data, subject.exportable, used, args.batch_size)[name] for used in (None, file)
        )
        check.metric = {
            "name": name,
            "images": len(data.val_dataset()),
            "before": before,
            "after": after,
            "worse": worse_by(before, after, mode),
        }
    judge(check, precision, args.limit)
    return check


def _lines(check: "Check") -> list[str]:
    differences = ", ".join(f"{name} {value:.3g}" for name, value in check.differences.items())
    sizes = dict.fromkeys("x".join(map(str, shape[1:])) for shape in check.shapes)
    batches = sorted({shape[0] for shape in check.shapes})
    found = [
        f"check   {check.samples}; batches of {', '.join(map(str, batches))}; sizes {', '.join(sizes)}",
        f"        largest difference: {differences}",
        f"        equal {check.equal:.2%} of {check.num_counted:,} {check.counted}",
        f"        {check.ms_file:.3g} ms an image, torch {check.ms_torch:.3g} ms (alone, {check.threads} threads)",
        f"        {check.megabytes:.4g} MB",
    ]
    if check.metric:
        values = check.metric
        found.append(
            f"        {values['name']} of {values['images']:,} validation images: torch {values['before']:.6g}, "
            f"this file {values['after']:.6g}"
        )
    return found


def _outcome(place: Path, lines: list[str], check: "Check") -> list[str]:
    from maekit.export.graph.make import checks_of

    if check.passed:
        return [*lines, f"done    {shown(place)}, {checks_of(place).name}"]
    for line in lines:
        print(line)
    raise UserError(f"{shown(place)} does not compute what the model does: {check.why}; see {checks_of(place).name}")
