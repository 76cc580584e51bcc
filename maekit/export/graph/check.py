"""Compares an exported file with the model that it was made from, on the same images, and times both."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from maekit.base.exportable import Exportable, GraphModel, Inputs, Outputs
from maekit.errors import UserError
from maekit.export.graph.samples import Samples

DIFFERENCE_LIMIT, SHARE_LIMIT = 1e-4, 0.01
TIMED, SECONDS = 15, 5.0  # runs of one image by each at most, and for how long in all
OTHER_BATCH = 3


@dataclass
class Check:
    """What a comparison found; its fields are the check's JSON.

    Attributes:
        file: name of the exported file.
        samples: where the images are from.
        images: how many there were.
        differences: the largest difference of each output, see `largest_difference`.
        equal: the share of equal predictions, 0..1.
        counted: what predictions are, such as images or pixels.
        num_counted: how many there were.
        shapes: [B, H, W] of everything that both were given.
        ms_torch: median milliseconds of one image in torch, eagerly, on one image at a time.
        ms_file: the same of the file.
        threads: of each.
        megabytes: of the file, tensors beside it included.
        limit: what decides, and its value.
        metric: of the validation images, by torch and by the file, where it was measured.
        passed: whether the file may be used.
        why: why not.
    """

    file: str
    samples: str
    images: int
    differences: dict[str, float] = field(default_factory=dict)
    equal: float = 0.0
    counted: str = "predictions"
    num_counted: int = 0
    shapes: list[list[int]] = field(default_factory=list)
    ms_torch: float = 0.0
    ms_file: float = 0.0
    threads: int = 1
    megabytes: float = 0.0
    limit: dict[str, float] = field(default_factory=dict)
    metric: dict[str, object] = field(default_factory=dict)
    passed: bool = False
    why: str = ""

    @property
    def difference(self) -> float:
        """The largest difference of all outputs."""
        return max(self.differences.values(), default=0.0)

    def plain(self) -> dict[str, object]:
        """Returns the fields as plain JSON."""
        values = asdict(self)
        return {key: str(value) if value == float("inf") else value for key, value in values.items()}


def compare(exportable: Exportable, file: GraphModel, samples: Samples) -> Check:
    """Runs model and file on all samples, on one image alone, on three, and where sizes are free on two other sizes.

    Raises:
        UserError: the file cannot be run on what it says it takes.
    """
    check = Check(file.path.name, samples.source, samples.count, counted=exportable.unit)
    check.threads = torch.get_num_threads()
    right = 0
    counted = len(samples.batches)
    for place, inputs in enumerate([*samples.batches, *_more(exportable, samples)]):
        ours, theirs = _of_model(exportable, inputs), _of_file(file, inputs)
        if missing := [name for name in exportable.outputs if name not in theirs]:
            raise UserError(f"{file.path} is of another model: it has no output {missing[0]}; give its own run")
        found = exportable.compare(ours, theirs)
        for name, difference in found.differences.items():
            check.differences[name] = max(difference, check.differences.get(name, 0.0))
        if place < counted:
            right, check.num_counted = right + found.equal, check.num_counted + found.count
        check.shapes.append([inputs[0].shape[0], *inputs[0].shape[2:]])
    check.equal = right / check.num_counted if check.num_counted else 1.0
    check.megabytes = sum(part.stat().st_size for part in parts(file)) / 1e6
    one = tuple(given[:1] for given in samples.batches[0])
    check.ms_torch, check.ms_file = _milliseconds(lambda: _of_model(exportable, one), lambda: file(*one))
    return check


def judge(check: Check, precision: str, limit: float | None) -> None:
    """Decides whether a file passes: fp32 by its difference, others by the metric, or without one by equal predictions.

    Args:
        check: what was found; `limit`, `passed` and `why` are set.
        precision: of the file.
        limit: the largest difference of fp32; of others the share by which the metric may get worse, or of predictions
            that may differ; None for 1e-4 and 0.01.
    """
    share = SHARE_LIMIT if limit is None else limit
    if precision == "fp32":
        most = DIFFERENCE_LIMIT if limit is None else limit
        worst = max(check.differences, key=lambda name: check.differences[name], default="")
        check.limit, found = {"difference": most}, check.difference
        why = f"output {worst} differs by {found:.3g}, expected at most {most:g}"
    elif check.metric:
        most, found = share, float(str(check.metric["worse"]))
        check.limit = {"worse": most}
        why = f"{check.metric['name']} got worse by {found:.2%} of itself, expected at most {most:.2%}"
    else:
        most, found = share, 1 - check.equal
        check.limit = {"unequal": most}
        why = f"{found:.2%} of the {check.counted} differ, expected at most {most:.2%}"
    check.passed = found <= most  # False for NaN
    check.why = "" if check.passed else why


def parts(file: GraphModel) -> list[Path]:
    """Returns the files of an exported model: itself, and the tensors of a large one beside it."""
    tensors = file.metadata.get("tensors")
    return [file.path] if tensors is None else [file.path, file.path.with_name(tensors["file"])]


def _more(exportable: Exportable, samples: Samples) -> list[Inputs]:
    """Returns inputs that ask whether batch and size are as free as the file says."""
    first = samples.batches[0]
    more = [tuple(given[:1] for given in first)]
    if exportable.dynamic_batch:
        more.append(tuple(torch.cat([given[:1]] * OTHER_BATCH) for given in first))
    if exportable.side_multiple:
        multiple, (height, width) = exportable.side_multiple, exportable.image_size
        least = exportable.least_multiple * multiple
        sizes = (height + multiple, width + 2 * multiple), (max(height - multiple, least), width + multiple)
        for size in sizes:
            images = torch.nn.functional.interpolate(first[0][:2], size, mode="bilinear")
            more.append((images, *exportable.further(images)))
    return more


def _of_model(exportable: Exportable, inputs: Inputs) -> Outputs:
    device = next(exportable.module.parameters()).device
    with torch.inference_mode():
        found = exportable.module(*(given.to(device) for given in inputs))
    return {name: values.cpu().numpy() for name, values in zip(exportable.outputs, found, strict=True)}


def _of_file(file: GraphModel, inputs: Inputs) -> Mapping[str, np.ndarray]:
    try:
        return {name: values.numpy() for name, values in file(*inputs).items()}
    except UserError:
        raise
    except Exception as error:  # onnxruntime's classes differ with its version; torch.export raises AssertionError
        shape = "x".join(map(str, inputs[0].shape))
        first = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{file.path} cannot be run on images {shape}, which it says it takes: {first}") from error


def _milliseconds(*runs: Callable[[], object]) -> list[float]:
    """Returns the median of each, timed in turn, so that what else the machine does slows all of them alike."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    began = time.perf_counter()
    while len(times[0]) < TIMED and time.perf_counter() - began < SECONDS:
        for run, own in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            own.append(time.perf_counter() - start)
    return [1e3 * statistics.median(own) for own in times]
