"""Position tables: the patch grid of an image, the 2-D sine-cosine table, and resizing to another grid or patch."""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from maekit.backbone.sizes import PositionResize
from maekit.backbone.traced_resize import resize_by_weights
from maekit.errors import UserError
from maekit.system.tracing.sides import is_symbolic


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Returns the patches (h, w) of an image of `height` x `width` pixels; sides must be multiples of the patch."""
    if height % patch_size or width % patch_size or not height or not width:
        near = [sorted({max(side // patch_size, 1), -(-side // patch_size) or 1}) for side in (height, width)]
        sizes = ", ".join(f"{h * patch_size}x{w * patch_size}" for h, w in product(*near))
        raise UserError(
            f"got an image of {height}x{width} pixels (height x width), expected sides that are multiples "
            f"of the patch size {patch_size}; set the image size to one of the nearest that work: {sizes}"
        )
    return height // patch_size, width // patch_size


def sincos_pos_embed(dim: int, grid: tuple[int, int], class_token: bool) -> Tensor:
    """Returns the fixed 2-D sine-cosine position table of MAE, float32 [1, (1+)h*w, dim].

    The first half of the channels encodes the column, the second half the row; each half is a block of sines and
    a block of cosines at frequencies 10000^(-k / (dim/4)). Positions are row by row; a class token's row is zero.
    Source: facebookresearch/mae @ efb2a80 util/pos_embed.py, where the grid is made with the width first.
    `dim` must be a multiple of 4. It is computed on the CPU and given on the default device: on the meta device torch
    would import its compiler for that.
    """
    height, width = grid
    frequencies = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64, device="cpu") / (dim // 4))

    def encode(length: int) -> Tensor:
        angles = torch.arange(length, dtype=torch.float64, device="cpu")[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    columns = encode(width)[None, :].expand(height, width, dim // 2)
    rows = encode(height)[:, None].expand(height, width, dim // 2)
    table = torch.cat([columns, rows], dim=2).flatten(0, 1).float()
    return F.pad(table, (0, 0, int(class_token), 0))[None].to(torch.get_default_device())


def resize_pos_embed(
    table: Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix: int,
    how: PositionResize = "plain",
) -> Tensor:
    """Returns the position table [1, P+h*w, D] of `old_grid` (h, w) for `new_grid`, in its dtype.

    Bicubic, align_corners False, computed in float32; the P = `num_prefix` rows before the patches (the class token's)
    are kept as they are. The same grid gives the table itself. Differentiable. `how` is

    - plain: without antialiasing (facebookresearch/mae @ efb2a80 util/pos_embed.py);
    - offset: so too, and sampled as if the new grid had a tenth of a patch more on each side (facebookresearch/dinov2,
      vision_transformer.py: interpolate_offset 0.1);
    - antialias: with antialiasing, whose cubic kernel is another one (there too, of the ViTs with registers).
    """
    traced = is_symbolic(*new_grid)  # comparing a symbol with a number would bind a graph to one size
    if not traced and old_grid == new_grid:
        return table
    prefix, patches = table[:, :num_prefix], table[:, num_prefix:]
    image = patches.float().transpose(1, 2).reshape(1, -1, *old_grid)
    if traced:
        resized = resize_by_weights(image, new_grid, how)
    elif how == "offset":
        factors = [(new + 0.1) / old for new, old in zip(new_grid, old_grid, strict=True)]
        resized = F.interpolate(image, scale_factor=factors, mode="bicubic", align_corners=False)
    else:
        resized = F.interpolate(image, size=new_grid, mode="bicubic", align_corners=False, antialias=how == "antialias")
    return torch.cat([prefix, resized.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def resize_patches(filters: Tensor, patch_size: int) -> Tensor:
    """Returns patch filters [D, 3, p, p] for another patch size, in their dtype: bicubic, align_corners False.

    So ViTDet brings ViT-H from 14 to 16 px (arXiv 2203.16527, appendix A.2); the mode is inferred, not published.
    """
    if filters.shape[-1] == patch_size:
        return filters
    size = (patch_size, patch_size)
    return F.interpolate(filters.float(), size, mode="bicubic", align_corners=False).to(filters.dtype)
