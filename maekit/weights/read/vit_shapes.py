"""The parameters of a whole plain ViT, asked of the model itself."""

import torch

from maekit.backbone.sizes import Size, load_size
from maekit.backbone.vit import ViT
from maekit.system.hardware import on_meta

Grid = tuple[int, int]
_MLP = {"mlp.fc1.weight": (1, 0), "mlp.fc1.bias": (1,), "mlp.fc2.weight": (0, 1)}  # axes: 1 hidden, 0 the ViT's width


def vit_shapes(
    width: int,
    num_blocks: int,
    patch: tuple[int, int],
    num_positions: int,
    *,
    channels: int = 3,
    hidden: int | None = None,
    num_registers: int = 0,
    class_token: bool = True,
    final_norm: bool = True,
) -> dict[str, torch.Size]:
    """Names and shapes of the parameters that a ViT has; empty where there is none, as `width` is no multiple of 4.

    Args:
        width: of the embedding.
        num_blocks: blocks.
        patch: height and width in pixels.
        num_positions: rows of the position table, the class token's included.
        channels: of the images.
        hidden: width inside the MLPs; None for the model's own, 4 times `width`.
        num_registers: register tokens, which have no position.
        class_token: whether it has a class token.
        final_norm: whether it has a norm over the last tokens.
    """
    if width <= 0 or width % 4 or not num_blocks:
        return {}
    with on_meta():
        size = Size("", width, num_blocks, 1, 1, num_registers)
        vit = ViT(size, image_size=(1, 1), channels=channels, class_token=class_token, final_norm=final_norm)
    shapes = {name: parameter.shape for name, parameter in vit.named_parameters()}
    shapes["pos_embed"] = torch.Size([1, num_positions, width])
    shapes["patch_embed.proj.weight"] = torch.Size([*shapes["patch_embed.proj.weight"][:2], *patch])
    if hidden is None:
        return shapes
    for name in shapes:
        if axes := next((axes for end, axes in _MLP.items() if name.endswith(f".{end}")), None):
            shapes[name] = torch.Size([hidden if axis else width for axis in axes])
    return shapes


def row_shapes(
    name: str, grid: Grid, *, channels: int = 3, class_token: bool = True, final_norm: bool = True
) -> dict[str, torch.Size]:
    """Names and shapes of the parameters of a ViT by its name.

    Args:
        name: of a row of sizes.yaml.
        grid: patches (h, w) of its position table, if it has one, and of its relative biases.
        channels: of the images.
        class_token: whether it has the class token and the registers of its row; a detector's has neither.
        final_norm: whether it has a norm over the last tokens.
    """
    size = load_size(name)
    height, width = (side * size.patch_size for side in grid)
    with on_meta():
        vit = ViT(size, image_size=(height, width), channels=channels, class_token=class_token, final_norm=final_norm)
    return {parameter: tensor.shape for parameter, tensor in vit.named_parameters()}
