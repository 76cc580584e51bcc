"""The size of a ViT, read off its tensors."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from maekit.backbone.sizes import all_sizes


class Shape(NamedTuple):
    """The size of a ViT as its tensors show it; None where they do not."""

    embed_dim: int | None
    num_blocks: int
    patch_size: int | None
    num_registers: int = 0

    def __str__(self) -> str:
        facts = f"{self.embed_dim} wide, {self.num_blocks} blocks, {self.patch_size} px patches"
        facts += f", {self.num_registers} registers" if self.num_registers else ""
        return f"{self.name} ({facts})" if self.name else f"a ViT of another kind ({facts})"

    @property
    def name(self) -> str | None:
        """The known size it is, such as vit_base_patch16."""
        sizes = ((s.name, (s.embed_dim, s.num_blocks, s.patch_size, s.num_registers)) for s in all_sizes().values())
        return next((name for name, numbers in sizes if numbers == self), None)


def measure(tensors: Mapping[str, Tensor]) -> Shape:
    """Reads a ViT's size off its tensors (released names)."""
    patches = tensors.get("patch_embed.proj.weight")
    blocks = {match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}
    if patches is None or patches.ndim != 4:
        return Shape(None, len(blocks), None)
    registers = tensors.get("reg_token")
    num_registers = registers.shape[1] if registers is not None and registers.ndim == 3 else 0
    return Shape(patches.shape[0], len(blocks), patches.shape[-1], num_registers)
