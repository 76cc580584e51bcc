"""Writes a traced program as an ONNX file, with the model's metadata inside."""

import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch.export import ExportedProgram

from maekit.base.exportable import Exportable
from maekit.errors import UserError
from maekit.export.graph.libraries import library
from maekit.export.graph.metadata import KEY
from maekit.export.graph.tensors import LARGE, data_of, keep_tensors
from maekit.system.remarks import without_remarks

OPSETS, DEFAULT_OPSET = range(18, 24), 20  # what torch.onnx's exporter writes, and every onnxruntime from 1.20 reads


def check_opset(opset: int) -> None:
    """Refuses an opset that is not written."""
    if opset not in OPSETS:
        raise UserError(f"--opset: got {opset}, expected {OPSETS[0]} to {OPSETS[-1]}; leave it out for {DEFAULT_OPSET}")


def write_onnx(
    program: ExportedProgram, exportable: Exportable, path: Path, metadata: Mapping[str, object], opset: int
) -> None:
    """Writes a program; a model above 1.5 GB has its tensors in a second file, `<name>.data`, beside it.

    Args:
        program: as `trace` returns it.
        exportable: what was traced.
        path: the file to make.
        metadata: plain JSON, kept under the key `maekit`.
        opset: version of ONNX's operators.

    Raises:
        UserError: onnxscript is missing, or an operator has no counterpart in ONNX.
    """
    library("onnxscript", "--to onnx")
    try:
        with without_remarks(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            written = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=list(exportable.inputs),
                output_names=list(exportable.outputs),
                verbose=False,
            )
    except Exception as error:  # torch.onnx.errors and whatever a translation raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{exportable.named} cannot be written as ONNX of opset {opset}: {first}; try --to torch"
        ) from error
    assert written is not None
    model = written.model
    _name_sides(model)
    _without_origins(model)
    model.metadata_props[KEY] = json.dumps(metadata)
    model.producer_name = "maekit"
    sizes = [
        tensor.const_value.nbytes for tensor in model.graph.initializers.values() if tensor.const_value is not None
    ]
    large = sum(sizes) > LARGE
    written.save(str(path), external_data=large)
    if large:
        keep_tensors(path, data_of(path).name)


def _without_origins(model: "object") -> None:
    """Removes what the exporter writes of the code that each operator is from: a third of a small file."""
    graph = model.graph  # type: ignore[attr-defined]
    graph.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


def _name_sides(model: "object") -> None:
    """Gives the free axes of input and outputs the names batch, height and width, where they are known."""
    images = model.graph.inputs[0]  # type: ignore[attr-defined]
    names = {str(axis): name for axis, name in zip(images.shape, ("batch", "channels", "height", "width"), strict=True)}
    for value in (*model.graph.inputs, *model.graph.outputs):  # type: ignore[attr-defined]
        for place, axis in enumerate(value.shape):
            if not isinstance(axis, int) and str(axis) in names:
                value.shape[place] = names[str(axis)]
