"""A file's tables of relative biases become those of the model's patch grid, as BEiT's fine-tuning resizes them."""

from dataclasses import replace

from maekit.backbone.protocol import Backbone
from maekit.backbone.relative_bias import TableBias
from maekit.backbone.table_resize import resize_bias_table
from maekit.system.size import HeightWidth
from maekit.weights.families.fit import Fit
from maekit.weights.state.state_file import StateFile, relative_grid

_CLASS_ROWS = 3  # after the shifts: the class token as a query, as a key, with itself

Grids = dict[str, tuple[HeightWidth, HeightWidth]]


def at_table_grid(fit: Fit, state: StateFile, backbone: Backbone) -> tuple[Fit, Grids]:
    """Resizes the file's tables of biases to those of the model; returns both grids of each resized table.

    The rows of a class token are left out where the model has none. Tables whose grid the file does not say and no
    square has, and those of as many rows as the model's, stay as they are.
    """
    found, grids = dict(fit.found), Grids()
    for name, module in backbone.named_modules():
        key = f"{name}.table"
        table = found.get(key)
        if not isinstance(module, TableBias) or table is None or table.ndim != 2 or len(table) == len(module.table):
            continue
        count = module.shifts[0] * module.shifts[1]
        if len(table) - _CLASS_ROWS == count == len(module.table):
            found[key] = table[:count]
        elif old := relative_grid(state, fit.in_file[key]):
            new = HeightWidth(*module.grid)
            resized = resize_bias_table(table.float(), old, new)
            found[key], grids[key] = resized[: len(module.table)], (old, new)
    return replace(fit, found=found), grids
