"""Which relative position each block of a ViT has."""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from maekit.backbone.attention import Grid, Plain
from maekit.backbone.decomposed import Decomposed
from maekit.backbone.relative_bias import TableBias
from maekit.backbone.sizes import OwnRelative, Size
from maekit.errors import UserError, nearest

RelativePosition = Literal["table", "decomposed", "shared"]


class Shared(nn.Module):
    """Attention by a position module that is owned elsewhere, so that its parameters are counted and saved there only.

    Args:
        owned: the module that attends.
    """

    def __init__(self, owned: nn.Module) -> None:
        super().__init__()
        self._owned = (owned,)  # in a tuple, so that torch does not register it as a submodule

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Returns what each query attends to, [B, heads, N, d]."""
        out: Tensor = self._owned[0](q, k, v, grid)
        return out


def check_relative_position(
    asked: RelativePosition | None, own: OwnRelative | None, *, window: int, prefix: bool
) -> RelativePosition | None:
    """Returns the kind that blocks have: the size's `own`, or what a task asks for; both must be the same.

    Refuses an unknown kind, and combinations of kind, window and tokens before the patches that do not work.
    """
    if window and prefix:
        raise UserError(f"got window {window} with a class token, which no window holds; set class_token to false")
    kinds = get_args(RelativePosition)
    if asked is None:
        return own
    if asked not in kinds:
        raise UserError(
            f"got relative_position '{asked}', expected {', '.join(kinds)} or null{nearest(str(asked), kinds)}"
        )
    if own is not None and asked != own:
        raise UserError(
            f"got relative_position '{asked}' for a ViT whose pre-training has '{own}', expected null, which keeps "
            f"that, or '{own}'; set --model.relative_position null"
        )
    if asked == own:
        return own
    if asked == "table" and window:
        raise UserError(
            f"got relative_position 'table' with window {window}, expected one of the two: its tables are for whole "
            "grids; set relative_position to shared or decomposed"
        )
    if asked != "table" and prefix:
        raise UserError(
            f"got relative_position '{asked}' with a class token, which it has no place for; set class_token to false"
        )
    return asked


def shared_tables(size: Size, grid: Grid, windows: Sequence[int], num_prefix: int) -> nn.ModuleDict:
    """One bias table for all blocks with a window, `window`, and one for the others, `grid`; only those that are used.

    `windows` gives each block's window, 0 for none.
    """
    sides = {"window" if side else "grid": (side, side) if side else grid for side in windows}
    return nn.ModuleDict(
        {name: TableBias(size.num_heads, sides[name], num_prefix=num_prefix) for name in sorted(sides)}
    )


def block_position(
    kind: RelativePosition | None,
    size: Size,
    grid: Grid,
    window: int,
    *,
    num_prefix: int,
    shared: nn.ModuleDict | None,
) -> nn.Module:
    """The position module of one block that attends to `grid` (h, w), or in windows of `window` patches a side."""
    if kind == "table":
        return TableBias(size.num_heads, (window, window) if window else grid, num_prefix=num_prefix)
    if kind == "decomposed":
        return Decomposed(size.embed_dim // size.num_heads, (window, window) if window else grid)
    if shared is not None:
        return Shared(shared["window" if window else "grid"])
    return Plain()
