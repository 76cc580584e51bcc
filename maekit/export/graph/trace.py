"""Traces a model with torch.export, so that batch and, where the task allows it, height and width stay free."""

import copy
import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import torch
from torch.export import Dim, ExportedProgram

from maekit.backbone.lora import LoraLinear, merge_layers
from maekit.base.exportable import Exportable
from maekit.errors import UserError
from maekit.system.remarks import without_remarks

MOST_IMAGES, MOST_PATCHES = 65_536, 4_096  # upper ends of what a traced batch and a traced side may be


def plain_layers(exportable: Exportable) -> tuple[Exportable, int]:
    """Returns the same with adapters (LoRA) merged into a copy of the module, and how many layers had one."""
    if not any(isinstance(layer, LoraLinear) for layer in exportable.module.modules()):
        return exportable, 0
    module = copy.deepcopy(exportable.module)
    return replace(exportable, module=module), merge_layers(module)


def trace(exportable: Exportable) -> tuple[ExportedProgram, Exportable]:
    """Traces a module in evaluation mode, with made images.

    Returns:
        The program, and what was traced: its size is fixed where the model's code binds the graph to one.

    Raises:
        UserError: torch cannot trace it.
    """
    bound = f"the code of {exportable.named} binds its graph to one size"
    least = exportable.least_multiple * exportable.side_multiple
    if min(exportable.image_size) < least:
        return trace(_of_one_size(exportable, f"a free side has {least} pixels or more"))
    try:
        program = _traced(exportable)
    except UserError:
        if not exportable.side_multiple:
            raise
        return trace(_of_one_size(exportable, bound))  # whose own error tells what cannot be traced at any size
    if exportable.side_multiple and not _runs(program, exportable):
        return trace(_of_one_size(exportable, bound))
    if exportable.dynamic_batch and not _runs(program, exportable):
        raise UserError(
            "the model's code binds its graph to the number of images it was traced with, expected any; take it from "
            "`.shape[0]`, not from `len()`, in the model's code"
        )
    return program, exportable


def _of_one_size(exportable: Exportable, why: str) -> Exportable:
    return replace(exportable, side_multiple=0, fixed_because=why)


def _traced(exportable: Exportable) -> ExportedProgram:
    batch: dict[int, object] = {0: Dim("batch", min=1, max=MOST_IMAGES)} if exportable.dynamic_batch else {}
    sides = dict(batch)
    if exportable.side_multiple:
        for axis, name in ((2, "rows"), (3, "columns")):
            sides[axis] = exportable.side_multiple * Dim(name, min=exportable.least_multiple, max=MOST_PATCHES)
    shapes = tuple(sides if place == 0 else batch for place in range(len(exportable.inputs)))
    # Free sides differ, since equal ones could become one symbol, and are not of one patch, which would be bound.
    more = exportable.side_multiple
    inputs = exportable.example(2 if exportable.dynamic_batch else 1, taller=more, wider=2 * more)
    noise = io.StringIO()
    try:
        with without_remarks(), torch.no_grad(), redirect_stdout(noise), redirect_stderr(noise):
            program = torch.export.export(exportable.module, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever the tracer or the model's own code raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{exportable.named} cannot be traced by torch {torch.__version__}: {first}; export its --features, or "
            "report it"
        ) from error
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # folders of this machine, which would be written into the file
    return program


def _runs(program: ExportedProgram, exportable: Exportable) -> bool:
    """Whether a program takes another batch and size than it was traced with: torch can bind it without a word."""
    more = exportable.side_multiple
    inputs = exportable.example(3 if exportable.dynamic_batch else 1, taller=2 * more, wider=4 * more)
    try:
        with torch.no_grad():
            program.module()(*inputs)
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True
