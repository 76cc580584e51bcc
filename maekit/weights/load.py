"""Loads weights into a model: everything is accounted for, or nothing is loaded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from maekit.backbone.pos_embed import resize_patches, resize_pos_embed
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.weights.fit import Fit, check_size, matches, problems
from maekit.weights.names import model_names
from maekit.weights.report import Grid, Report
from maekit.weights.state_file import StateFile, read_state, seems, stored_grid
from maekit.weights.words import BESIDE, in_words

__all__ = ["Report", "load_weights", "read_state"]


def load_weights(
    model: nn.Module,
    path: str | Path,
    *,
    allow_new: Sequence[str],
    allow_unused: Sequence[str],
    allow_resized: Sequence[str],
    leave_out: Sequence[str] = (),
) -> Report:
    """Copies a file's tensors into `model.backbone` (a ViT) and `model.head`, or changes nothing and says why.

    The file may have any layout that `read_state` knows.

    Patterns are those of fnmatch, over the model's names without `backbone.` (`blocks.0.norm1.weight`,
    `head.fc.weight`); for tensors of the file their released names do as well (`fc_norm.weight`).

    Args:
        allow_new: what of the model need not be in the file.
        allow_unused: what of the file need not be in the model.
        allow_resized: what may be resized to the model's patches; only `pos_embed` and `patch_embed.proj.weight` can.
        leave_out: what of the file is treated as if it were not there, though it might fit; with it goes what the file
            has in its head and the model has not.

    Raises:
        UserError: anything else is missing, left over, of another shape or kind, or not finite; a head would be
            loaded only in part; the ViT has another number of heads; or the file cannot be read.
    """
    path, state, backbone = Path(path), read_state(path), _backbone(model)
    fit, left_out = _beside(model, state, leave_out)
    fit, patches = _at_patch(fit, backbone, allow_resized)
    check_size(path, fit)
    fit, grids = _at_grid(fit, state, backbone)
    wrong = list(problems(fit, allow_new, (*allow_unused, *BESIDE.get(state.layout, ())), fresh=leave_out))
    heads = getattr(backbone.get_submodule("blocks.0.attn"), "num_heads", None)
    if state.num_heads is not None and heads is not None and state.num_heads != heads:
        wrong.append(f"got {state.num_heads} attention heads, expected {heads}")
    if grids and not matches("pos_embed", allow_resized):
        wrong.append("pos_embed is of a {}x{} patch grid, expected {}x{}".format(*grids[0], *grids[1]))
    if wrong:
        what = in_words(state.layout, state.kind)
        raise UserError(f"{path} ({what}) does not fit the model: {'; '.join(wrong)}{seems(fit.unused)}")
    for name in fit.shared:
        fit.own[name].copy_(fit.found[name])
    resized = (*(["patch_embed.proj.weight"] if patches else []), *(["pos_embed"] if grids else []))
    weights = {name: weight.numel() for name, weight in backbone.named_parameters()}
    return Report(
        path=path,
        layout=state.layout,
        kind=state.kind,
        matched=tuple(name for name in fit.shared if name not in resized),
        resized=resized,
        new=tuple(fit.new),
        unused=tuple(fit.in_file[name] for name in (*fit.unused, *left_out)),
        patches=patches,
        grids=grids,
        coverage=sum(weights.get(name, 0) for name in fit.shared) / sum(weights.values()),
    )


def _backbone(model: nn.Module) -> ViT:
    backbone = model.get_submodule("backbone")
    if not isinstance(backbone, ViT):
        raise TypeError(f"model.backbone is a {type(backbone).__name__}, expected a ViT")
    return backbone


def _beside(model: nn.Module, state: StateFile, leave_out: Sequence[str]) -> tuple[Fit, list[str]]:
    """Puts the file's tensors beside the model's; also the names of those left out."""
    in_file = {new: old for old, new in model_names(state.tensors).items()}
    tensors = {n: t for n, t in model.state_dict().items() if n.startswith(("backbone.", "head."))}
    own = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    left_out = [
        new
        for new, old in in_file.items()
        if matches(new, leave_out)
        or matches(old, leave_out)
        or (leave_out and new.startswith("head.") and new not in own)
    ]
    return Fit(own, {new: state.tensors[old] for new, old in in_file.items() if new not in left_out}, in_file), left_out


def _at_patch(fit: Fit, backbone: ViT, allowed: Sequence[str]) -> tuple[Fit, tuple[int, int] | None]:
    """Brings the file's patch filters to the model's patch size if that is allowed; both sizes, or None."""
    key, new = "patch_embed.proj.weight", backbone.patch_size
    filters = fit.found.get(key)
    if filters is None or filters.ndim != 4 or filters.shape[-1] == new or not matches(key, allowed):
        return fit, None
    return replace(fit, found={**fit.found, key: resize_patches(filters, new)}), (filters.shape[-1], new)


def _at_grid(fit: Fit, state: StateFile, backbone: ViT) -> tuple[Fit, tuple[Grid, Grid] | None]:
    """Brings the file's position table to the model's patch grid; both grids, or None where it serves as it is.

    The class token's row is left out where the model has no class token.
    """
    table, new = fit.found.get("pos_embed"), backbone.pos_grid
    if table is None or table.ndim != 3 or "pos_embed" not in fit.own:
        return fit, None
    theirs, ours = int("cls_token" in fit.found), int("cls_token" in fit.own)
    old = stored_grid(state, table.shape[1] - theirs)
    if old is None or theirs < ours:
        return fit, None
    table = table[:, theirs - ours :]
    table = table if old == new else resize_pos_embed(table.float(), old, new, ours)
    return replace(fit, found={**fit.found, "pos_embed": table}), None if old == new else (old, new)
