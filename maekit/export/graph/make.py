"""Makes an exported file: traced, written, brought to its precision, and put in its place once it is checked."""

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from maekit.base.exportable import Exportable
from maekit.errors import UserError
from maekit.export.graph.check import Check
from maekit.export.graph.metadata import describe
from maekit.export.graph.onnx_file import DEFAULT_OPSET, check_opset, write_onnx
from maekit.export.graph.quantise import Precision, reduce_precision, require_reducible
from maekit.export.graph.tensors import data_of, keep_tensors
from maekit.export.graph.torch_file import write_torch
from maekit.export.graph.trace import plain_layers, trace
from maekit.system.files import write_json

Format = Literal["onnx", "torch"]
_WORK, _OLD = ".export-", 24 * 3600.0  # seconds from which no process works in a folder any more
_FULL = (errno.ENOSPC, errno.EDQUOT)
ENDING: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class Wanted:
    """How a model is to be written.

    Attributes:
        to: the format.
        out: the file to make.
        precision: of it.
        opset: of ONNX; None for the usual one.
    """

    to: Format
    out: Path
    precision: Precision = "fp32"
    opset: int | None = None

    def __post_init__(self) -> None:
        if self.opset is not None:
            check_opset(self.opset)
        if self.out.suffix != ENDING[self.to]:
            raise UserError(
                f"--output: got {self.out}, expected a name that ends in {ENDING[self.to]}, by which it is recognised"
            )
        require_free(self.out)


def write(
    exportable: Exportable, wanted: Wanted, folder: Path, origin: dict[str, object]
) -> tuple[Path, Exportable, list[str]]:
    """Writes a model into a folder, under the name that it is to have.

    Args:
        exportable: the model.
        wanted: format, name and precision.
        folder: where to write, which is not where it is wanted.
        origin: what the metadata say of the weights.

    Returns:
        The file; the model with the sizes that the file takes; and lines of text on what was done.
    """
    require_reducible(sum(each.nbytes for each in exportable.module.parameters()), wanted.precision)
    file = folder / wanted.out.name
    plain, merged = plain_layers(exportable)  # the file is compared with the model as it is, adapters and all
    lines = [f"merged  adapters (LoRA) of {merged} layers into their weights"] if merged else []
    program, traced = trace(plain)
    if traced.side_multiple != plain.side_multiple:
        lines.append(f"size    fixed: {traced.fixed_because}")
    opset = wanted.opset or DEFAULT_OPSET
    made = {**origin, "precision": wanted.precision, "torch": torch.__version__}
    if wanted.to == "torch":
        write_torch(program, file, describe(traced, origin=made))
        return file, replace(traced, module=exportable.module), lines
    metadata = describe(traced, origin={**made, "opset": opset})
    if wanted.precision == "fp32":
        write_onnx(program, exportable, file, metadata, opset)
        return file, replace(traced, module=exportable.module), lines
    whole = folder / f"fp32-{wanted.out.name}"
    write_onnx(program, exportable, whole, metadata, opset)
    lines.append(f"reduced {reduce_precision(whole, file, wanted.precision)}")
    whole.unlink()
    return file, replace(traced, module=exportable.module), lines


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """Makes a folder beside the file to come, on its disk, and removes it at the end; those of killed processes too."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(out.parent)
        folder = Path(tempfile.mkdtemp(prefix=_WORK, dir=out.parent))
    except OSError as error:
        raise UserError(f"{out.parent}: cannot be written ({error.strerror}); give another --output") from error
    try:
        yield folder
    except OSError as error:  # of a full disk the name of the file to come says more than that of one within
        if error.errno in _FULL:
            raise OSError(error.errno, error.strerror, str(out)) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(parent: Path) -> None:
    for folder in parent.glob(f"{_WORK}*"):
        with suppress(OSError):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _OLD:
                shutil.rmtree(folder, ignore_errors=True)


def settle(file: Path, out: Path, check: Check) -> Path:
    """Moves a checked file to its name, or a refused one to `<name>.refused.<ending>`, with the check's JSON beside it.

    The file itself is moved last: whoever sees it sees all of it, tensors and check included.

    Raises:
        UserError: the name is taken.
    """
    place = out if check.passed else out.with_name(f"{out.stem}.refused{out.suffix}")
    if check.passed:
        require_free(out)  # again: another export may have taken the name since
    check.file = place.name
    if data_of(file).is_file():
        if not check.passed:
            keep_tensors(file, data_of(place).name)
        file.with_name(data_of(place).name).replace(data_of(place))
    write_json(checks_of(place), check.plain())
    file.replace(place)
    return place


def require_free(out: Path) -> None:
    """Refuses to overwrite a model, its check or its tensors."""
    for taken in (out, checks_of(out), data_of(out)):
        if taken.exists() or taken.is_symlink():
            raise UserError(f"{taken} exists already; give another --output, or remove it first")


def checks_of(file: Path) -> Path:
    """Returns where the JSON of a file's check is: model.check.json, or model.pt2.check.json of another format."""
    return file.with_name(f"{file.stem if file.suffix == ENDING['onnx'] else file.name}.check.json")
