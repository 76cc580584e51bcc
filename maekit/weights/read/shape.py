"""Which ViT a file is of: its numbers and parts, read off its tensors, and the rows of sizes.yaml that have them."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from maekit.backbone.sizes import QkvBias, Size, load_size, sizes, variants
from maekit.errors import UserError

_EVERY_BIAS: tuple[QkvBias, ...] = ("all", "no_key")  # of which keys' biases of zero may be either


@dataclass(frozen=True)
class Parts:
    """The parts of a ViT that its tensors show; the defaults are the plain ViT's.

    Attributes:
        gated: whether the MLPs are SwiGLU.
        hidden: width inside an MLP, of SwiGLU of each half; 0 where there is none.
        layer_scale: whether the branches of a block are scaled.
        qkv_bias: what biases of q, k and v it may have: those of keys that are all zero may be none.
        qk_norm: whether q and k are normalised.
        norm_pre: whether a norm goes before the blocks.
        patch_bias: whether the patch filters have a bias.
        class_token: whether there is a class token.
        class_position: whether the position table has a row for it; None where the number of rows is a square, which is
            of patches alone, or of an oblong grid with one more.
        position_table: whether there is a position table.
        relative: a table of relative biases a block, one for all, or none.
    """

    gated: bool = False
    hidden: int = 0
    layer_scale: bool = False
    qkv_bias: tuple[QkvBias, ...] = ("all",)
    qk_norm: bool = False
    norm_pre: bool = False
    patch_bias: bool = True
    class_token: bool = True
    class_position: bool | None = True
    position_table: bool = True
    relative: str | None = None

    def differences(self, size: Size, *, tokens: bool = True) -> list[str]:
        """In words, what a row has otherwise; empty where it fits.

        Args:
            size: the row.
            tokens: whether class token and its position count: detectors have none, whatever their weights had.
        """
        return [word for word, differs in self._compared(size, tokens) if differs]

    def _compared(self, size: Size, tokens: bool) -> Iterator[tuple[str, bool]]:
        yield "SwiGLU", self.gated != (size.mlp == "swiglu")
        yield f"MLPs {self.hidden} wide", self.hidden not in (0, size.hidden)
        yield "LayerScale", self.layer_scale != (size.layer_scale is not None)
        yield "biases of q, k and v", size.qkv_bias not in self.qkv_bias
        yield "normalised q and k", self.qk_norm != size.qk_norm
        yield "a norm before the blocks", self.norm_pre != size.norm_pre
        yield "a bias of the patch filters", self.patch_bias != size.patch_bias
        yield "a class token", tokens and self.class_token != size.class_token
        table = size.positions in ("learned", "fixed")
        yield "a position table", self.position_table != table
        row = size.class_token and size.class_position
        counts = tokens and table and self.position_table and self.class_token
        yield "a position of the class token", counts and self.class_position not in (None, row)
        yield "relative biases", self.relative != size.relative_position

    def __str__(self) -> str:
        """In words, what is other than in the plain ViT."""
        return ", ".join(self.special())

    def added(self) -> bool:
        """Whether there are parts that the plain ViT does not have at all."""
        return self.gated or self.layer_scale or self.qk_norm or self.norm_pre or self.relative is not None

    def special(self) -> Iterator[str]:
        """In words, each part that is other than the plain ViT's."""
        words = {
            "SwiGLU": self.gated,
            "LayerScale": self.layer_scale,
            "no bias of keys": self.qkv_bias == ("no_key",),
            "no biases of q, k and v": self.qkv_bias == ("none",),
            "normalised q and k": self.qk_norm,
            "a norm before the blocks": self.norm_pre,
            "patch filters without a bias": not self.patch_bias,
            "no class token": not self.class_token,
            "no position table": not self.position_table,
            "a table of relative biases in each block": self.relative == "table",
            "one table of relative biases": self.relative == "shared",
        }
        return (word for word, there in words.items() if there)


class Shape(NamedTuple):
    """The ViT of a file as its tensors show it; None where they do not.

    Attributes:
        embed_dim: width.
        num_blocks: blocks.
        patch_size: pixels.
        num_registers: register tokens.
        parts: the others.
        names: of the rows that have all of that, such as vit_base_patch16: the plain ViT first.
    """

    embed_dim: int | None
    num_blocks: int
    patch_size: int | None
    num_registers: int = 0
    parts: Parts = Parts()
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        facts = f"{self.embed_dim} wide, {self.num_blocks} blocks, {self.patch_size} px patches"
        facts += f", {self.num_registers} registers" if self.num_registers else ""
        facts += f", {self.parts}" if str(self.parts) and not self.name else ""
        return f"{self.name} ({facts})" if self.name else f"a ViT of another kind ({facts})"

    @property
    def name(self) -> str | None:
        """The first row that it is of, such as vit_base_patch16; None where it is of none."""
        return next(iter(self.names), None)

    @property
    def class_rows(self) -> int:
        """Rows of the position table before those of patches: 1 where the class token has one, else 0."""
        return int(self.parts.class_token and (self.name is None or load_size(self.name).class_position))


NO_VIT = Shape(None, 0, None)


def measure(
    tensors: Mapping[str, Tensor], *, variant: str | None = None, num_heads: int | None = None, tokens: bool = True
) -> Shape:
    """Reads a ViT's numbers and parts off its tensors (released names), and finds its rows.

    Args:
        tensors: without what a task adds to a ViT.
        variant: the only one whose rows are looked at, empty for the plain ViT; None for all.
        num_heads: attention heads, where they are known: rows of other heads come last, whatever their parts.
        tokens: as for `Parts.differences`.
    """
    patches = tensors.get("patch_embed.proj.weight")
    blocks = {match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}
    if patches is None or patches.ndim != 4:
        return Shape(None, len(blocks), None)
    registers = tensors.get("reg_token")
    num_registers = registers.shape[1] if registers is not None and registers.ndim == 3 else 0
    width, patch, parts = patches.shape[0], patches.shape[-1], _parts(tensors)
    words = ("", *variants()) if variant is None else (variant,)
    every = _rows(width, len(blocks), patch, num_registers, words)
    rows = [row for row in every if not parts.differences(row, tokens=tokens)]
    unsure = parts.class_token and parts.class_position is None
    if not rows and not parts.added() and (plain := next(_rows(width, len(blocks), patch, num_registers, ("",)), None)):
        rows = [plain]  # a part of a file, which lacks some of its tensors
    rows = list({replace(row, name=""): row for row in reversed(rows)}.values())[::-1]
    rows.sort(key=lambda row: (num_heads not in (None, row.num_heads), unsure and row.class_position))
    return Shape(width, len(blocks), patch, num_registers, parts, tuple(row.name for row in rows))


def _rows(width: int, depth: int, patch: int, registers: int, words: tuple[str, ...]) -> Iterator[Size]:
    """Every row of these numbers, the plain ViTs first, then in the order of the table."""
    for variant in words:
        for size in sizes():
            row = compose(size, patch, registers, variant)
            if row and (row.embed_dim, row.num_blocks, row.num_registers) == (width, depth, registers):
                yield row


def compose(size: str, patch: int, registers: int, variant: str) -> Size | None:
    """The row of a size, a patch, registers and a variant (empty: none); None where these do not go together."""
    usual = f"vit_{size}_patch{patch}_{variant}" if variant else f"vit_{size}_patch{patch}"
    try:
        row = load_size(usual)
        if row.num_registers == registers:
            return row
        return load_size(f"vit_{size}_patch{patch}_reg{registers}{f'_{variant}' if variant else ''}")
    except UserError:
        return None


def _parts(tensors: Mapping[str, Tensor]) -> Parts:
    first, second = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.mlp.fc2.weight")
    hidden = second.shape[-1] if second is not None and second.ndim == 2 else 0
    table = tensors.get("pos_embed")
    tabled = table is not None and table.ndim == 3
    return Parts(
        gated=first is not None and hidden > 0 and len(first) == 2 * hidden,
        hidden=hidden,
        layer_scale="blocks.0.gamma_1" in tensors,
        qkv_bias=_biases(tensors),
        qk_norm="blocks.0.attn.q_norm.weight" in tensors,
        norm_pre="norm_pre.weight" in tensors,
        patch_bias="patch_embed.proj.bias" in tensors,
        class_token="cls_token" in tensors,
        class_position=None if table is not None and tabled and _is_square(table.shape[1]) else True,
        position_table=tabled,
        relative=_relative(tensors),
    )


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _relative(tensors: Mapping[str, Tensor]) -> str | None:
    if "blocks.0.attn.position.table" in tensors:
        return "table"
    return "shared" if any(name.startswith("shared_bias.") for name in tensors) else None


def _biases(tensors: Mapping[str, Tensor]) -> tuple[QkvBias, ...]:
    """What biases of q, k and v there may be: those of keys that are zero in every block may be none at all."""
    biases = [tensor for name, tensor in tensors.items() if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.bias", name)]
    if not biases:
        return ("all",) if "blocks.0.attn.qkv.weight" not in tensors else ("none",)
    whole = [bias for bias in biases if bias.ndim == 1 and len(bias) % 3 == 0 and not bias.is_meta]
    return ("all",) if any(bool(bias.chunk(3)[1].any()) for bias in whole) else _EVERY_BIAS
