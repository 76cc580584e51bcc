"""Loads weights into a model: every tensor is accounted for, or nothing is loaded.

No file has adapters (LoRA), since `read_state` merges them; those of the model stay as they began.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from maekit.backbone.lora import is_adapter
from maekit.backbone.pos_embed import resize_patches, resize_pos_embed
from maekit.backbone.protocol import Backbone
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.weights.families.fit import Fit, matches
from maekit.weights.families.registry import extra_parameters, families, names_in_model
from maekit.weights.layouts.registry import beside
from maekit.weights.load.assumed import assumptions
from maekit.weights.load.bands import FILTERS, Bands, at_bands, not_trained
from maekit.weights.load.class_order import Comparison, class_rows, compare_classes, reorder
from maekit.weights.load.classes import Classes, file_classes
from maekit.weights.load.fit import check_size, problems
from maekit.weights.load.head_target import HeadTarget, other_target
from maekit.weights.load.relative_tables import at_table_grid
from maekit.weights.load.report import Report
from maekit.weights.state.foreign import seems
from maekit.weights.state.pretraining import pretraining_of
from maekit.weights.state.state_file import StateFile, in_words, read_state, stored_grid

__all__ = ["Report", "load_weights", "read_state"]


def load_weights(
    model: nn.Module,
    path: str | Path,
    *,
    allow_new: Sequence[str],
    allow_unused: Sequence[str],
    allow_resized: Sequence[str],
    leave_out: Sequence[str] = (),
    classes: Classes | None = None,
    bands: Bands | None = None,
    target: HeadTarget | None = None,
) -> Report:
    """Copies a file's tensors into `model.backbone` (a `Backbone`) and `model.head`, or changes nothing and says why.

    The file may have any layout that `read_state` knows. Its decoder is for a model whose head is one (`mask_token`
    becomes `head.mask_token`); for other models it is something of the file's that has no place.

    Patterns are those of fnmatch, over the model's names without `backbone.` (`blocks.0.norm1.weight`,
    `head.fc.weight`); for tensors of the file their released names do as well (`fc_norm.weight`).

    Args:
        allow_new: parameters of the model that may be missing from the file.
        allow_unused: tensors of the file that the model may lack.
        allow_resized: tensors that may be resized to the model's patches; only `pos_embed`, a decoder's own table
            `decoder_pos_embed`, tables of relative biases and `patch_embed.proj.weight` can.
        leave_out: tensors of the file that are ignored, even if they fit; then those of its head that the model lacks
            are ignored too.
        classes: what the rows of the model's head stand for. A head of as many classes is put in their order, or
            refused where it is of other ones; None compares nothing.
        bands: the channels the model is given, to whose the file's patch filters are adapted, and their normalisation,
            which is compared with the file's; None where the model has the file's own.
        target: what the model's head predicts, which is compared with what the file's does; None compares nothing.

    Raises:
        UserError: anything else is missing, left over, of another shape or kind, or not finite; a head would be
            loaded only in part, or has other classes; the ViT or a decoder has another number of heads; or the file
            cannot be read.
    """
    path, state, backbone = Path(path), read_state(path), _backbone(model)
    fit, left_out = _beside(model, state, leave_out)
    fit, patches = _at_patch(fit, backbone, allow_resized)
    check_size(path, fit, state.shape)
    fit, adapted = at_bands(path, fit, state.meta, bands) if bands else (fit, [])
    if adapted and not backbone.get_parameter(FILTERS).requires_grad:
        adapted.append(not_trained(adapted))
    fit, grids = _at_grid(fit, state, backbone)
    fit, biases = at_table_grid(fit, state, backbone)
    grids |= biases
    unwanted = [name for name in grids if not _may_resize(name, allow_resized)]
    fit, compared = _by_class(fit, state, classes)
    unused = (*allow_unused, *beside(state.layout))
    wrong = list(problems(model, state, fit, allow_new=allow_new, allow_unused=unused, fresh=leave_out))
    if state.num_heads not in (None, backbone.num_heads):
        wrong.append(f"got {state.num_heads} attention heads, expected {backbone.num_heads}")
    wrong += [compared.problem] if compared.problem else []
    wrong += other_target(fit, state.meta, target)
    wrong += ["{} is of a {}x{} patch grid, expected {}x{}".format(n, *grids[n][0], *grids[n][1]) for n in unwanted]
    if wrong:
        what = in_words(state.layout, state.kind)
        raise UserError(f"{path} ({what}) does not fit the model: {'; '.join(wrong)}{seems(fit.unused)}")
    for name in fit.shared:
        fit.own[name].copy_(fit.found[name])
    resized = (*(["patch_embed.proj.weight"] if patches else []), *grids)
    weights = {name: weight.numel() for name, weight in backbone.named_parameters() if not is_adapter(name)}
    return Report(
        path=path,
        layout=state.layout,
        kind=state.kind,
        matched=tuple(name for name in fit.shared if name not in resized),
        resized=resized,
        new=tuple(fit.new),
        unused=tuple(fit.in_file[name] for name in (*fit.unused, *left_out)),
        patches=patches,
        grids=next(iter(grids.values()), None),
        coverage=sum(weights.get(name, 0) for name in fit.shared) / sum(weights.values()),
        classes=compared.outcome,
        chosen=state.chosen,
        bands=tuple(adapted),
        notes=tuple(assumptions(model, backbone, state, fit, bands)),
        pretraining=pretraining_of(state, path).word,
    )


def _backbone(model: nn.Module) -> Backbone:
    backbone = model.get_submodule("backbone")
    if not isinstance(backbone, Backbone):
        raise TypeError(f"model.backbone is a {type(backbone).__name__}, expected a Backbone")
    return backbone


def _beside(model: nn.Module, state: StateFile, leave_out: Sequence[str]) -> tuple[Fit, list[str]]:
    """Returns the file's tensors beside the model's, and the names of the file's that are left out."""
    held = [(name, tensor) for name, tensor in model.state_dict().items() if not is_adapter(name)]
    tensors = {n: t for n, t in held if n.startswith(("backbone.", "head.")) or n in extra_parameters()}
    own = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    in_file = {new: old for old, new in names_in_model(state.tensors, own).items()}
    left_out = [
        new
        for new, old in in_file.items()
        if matches(new, leave_out)
        or matches(old, leave_out)
        or (leave_out and new.startswith("head.") and new not in own)
    ]
    return Fit(own, {new: state.tensors[old] for new, old in in_file.items() if new not in left_out}, in_file), left_out


def _by_class(fit: Fit, state: StateFile, classes: Classes | None) -> tuple[Fit, Comparison]:
    """Puts the rows of a file's head in the order of the model's classes, where both have as many."""
    own = {name: fit.own[name] for name in fit.shared}
    rows = class_rows({name: fit.found[name] for name in own}, len(classes.names)) if classes else []
    if classes is None or not rows or any(fit.found[name].shape != own[name].shape for name in rows):
        return fit, Comparison()
    compared = compare_classes(file_classes(state.meta), classes)
    if compared.order is not None:
        fit = replace(fit, found=reorder(fit.found, compared.order))
    return fit, compared


def _at_patch(fit: Fit, backbone: Backbone, allowed: Sequence[str]) -> tuple[Fit, tuple[int, int] | None]:
    """Resizes the file's patch filters to the model's patch size if that is allowed; returns both sizes, or None."""
    key, new = "patch_embed.proj.weight", backbone.patch_size
    filters = fit.found.get(key)
    if filters is None or filters.ndim != 4 or filters.shape[-1] == new or not matches(key, allowed):
        return fit, None
    return replace(fit, found={**fit.found, key: resize_patches(filters, new)}), (filters.shape[-1], new)


def _at_grid(fit: Fit, state: StateFile, backbone: Backbone) -> tuple[Fit, dict[str, tuple[HeightWidth, HeightWidth]]]:
    """Resizes the file's position tables to the model's patch grid; returns both grids of each resized table.

    The class token's row is left out where the model has no class token; a table in a head always has it.
    """
    found, grids = dict(fit.found), {}
    tables = {"pos_embed": "cls_token", **{name: name for family in families() for name in family.tables}}
    for name, token in tables.items():
        table, new = fit.found.get(name), HeightWidth(*backbone.pos_grid)
        if table is None or table.ndim != 3 or name not in fit.own:
            continue
        ours = fit.own[name].shape[1] - new.height * new.width
        theirs = state.shape.class_rows if name == "pos_embed" else int(token in fit.found)
        old = stored_grid(state, table.shape[1] - theirs)
        if old is None or (theirs < ours and token not in fit.found):
            continue
        missing = torch.zeros_like(table[:, : max(ours - theirs, 0)])  # a class token without a position
        found[name] = torch.cat([missing, table[:, max(theirs - ours, 0) :]], dim=1)
        if old != new:
            found[name] = resize_pos_embed(found[name].float(), old, new, ours, backbone.position_resize)
            grids[name] = (old, new)
    return replace(fit, found=found), grids


def _may_resize(name: str, allowed: Sequence[str]) -> bool:
    return matches(name, allowed) or matches(name.removeprefix("head."), allowed)
