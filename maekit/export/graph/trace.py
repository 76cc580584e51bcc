"""Traces a model with torch.export, so that batch and, where the task allows it, height and width stay free."""

import copy
import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import torch
from torch.export import Dim, ExportedProgram

from maekit.backbone.lora import LoraLinear, merge_layers
from maekit.base.exportable import Exportable, Inputs
from maekit.errors import UserError

MOST_IMAGES, MOST_PATCHES = 65_536, 4_096  # upper ends of what a traced batch and a traced side may be


def plain_layers(exportable: Exportable) -> tuple[Exportable, int]:
    """Returns the same with adapters (LoRA) merged into a copy of the module, and how many layers had one."""
    if not any(isinstance(layer, LoraLinear) for layer in exportable.module.modules()):
        return exportable, 0
    module = copy.deepcopy(exportable.module)
    return replace(exportable, module=module), merge_layers(module)


def trace(exportable: Exportable) -> ExportedProgram:
    """Returns the program of a module in evaluation mode, traced with made images of its size.

    Raises:
        UserError: torch cannot trace it.
    """
    batch: dict[int, object] = {0: Dim("batch", min=1, max=MOST_IMAGES)} if exportable.dynamic_batch else {}
    sides = dict(batch)
    if exportable.side_multiple:
        for axis, name in ((2, "rows"), (3, "columns")):
            sides[axis] = exportable.side_multiple * Dim(name, min=1, max=MOST_PATCHES)
    noise = io.StringIO()
    try:
        with torch.no_grad(), redirect_stdout(noise), redirect_stderr(noise):
            shapes = tuple(sides if place == 0 else batch for place in range(len(exportable.inputs)))
            return torch.export.export(exportable.module, _example(exportable), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever the tracer or the model's own code raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the model cannot be traced by torch {torch.__version__}: {first}; export its --features, or report it"
        ) from error


def _example(exportable: Exportable) -> Inputs:
    """Returns inputs to trace with, whose height and width differ where they are free: equal ones could be merged."""
    device = next(exportable.module.parameters()).device
    return tuple(given.to(device) for given in exportable.example(wider=exportable.side_multiple))
