"""The ViT sizes by name, read from sizes.yaml. No torch here: the command line asks without loading it."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from maekit.errors import UserError, nearest


@dataclass(frozen=True)
class Size:
    """The shape of a ViT.

    Attributes:
        name: what recipes call it.
        embed_dim: D, the width of the residual stream; a multiple of `num_heads` and of 4 (two axes, sine and cosine).
        num_blocks: attention + MLP blocks.
        num_heads: attention heads a block.
        patch_size: side of a square patch in pixels.
        num_registers: learned tokens without a position beside the class token (arXiv 2309.16588).
    """

    name: str
    embed_dim: int
    num_blocks: int
    num_heads: int
    patch_size: int
    num_registers: int = 0


@cache
def all_sizes() -> dict[str, Size]:
    """Returns every size of sizes.yaml by name, in its order."""
    table = yaml.safe_load(files("maekit.backbone").joinpath("sizes.yaml").read_text(encoding="utf-8"))
    return {name: Size(name, **numbers) for name, numbers in table.items()}


def load_size(name: str) -> Size:
    """Returns the size called `name`; a UserError names the nearest one when there is none."""
    sizes = all_sizes()
    if name not in sizes:
        known = ", ".join(sizes)
        raise UserError(f"got the ViT size '{name}', expected one of {known}{nearest(name, sizes)}")
    return sizes[name]


def with_patch(name: str, patch_size: int) -> str:
    """Returns the name of the same ViT with another patch, in pixels."""
    return re.sub(r"_patch\d+", f"_patch{patch_size}", name, count=1)
