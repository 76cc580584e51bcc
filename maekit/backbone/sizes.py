"""The plain ViTs by name, composed of rows of sizes.yaml. No torch here: the command line asks without loading it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import yaml

from maekit.errors import UserError, nearest
from maekit.system.yaml_loader import YAML_LOADER

MlpKind = Literal["gelu", "quick_gelu", "gelu_tanh", "swiglu"]
QkvBias = Literal["all", "no_key", "none"]
Positions = Literal["learned", "fixed", "rotary", "none"]
OwnRelative = Literal["table", "shared"]
PositionResize = Literal["plain", "offset", "antialias"]
_WORDS: dict[str, tuple[str, ...]] = {
    "mlp": get_args(MlpKind),
    "qkv_bias": get_args(QkvBias),
    "positions": get_args(Positions),
    "position_resize": get_args(PositionResize),
}
_FORM = "vit_SIZE_patchP[_regR][_VARIANT]"


@dataclass(frozen=True)
class Size:
    """The shape and the parts of a ViT; the defaults are the plain ViT's.

    Attributes:
        name: what recipes call it.
        embed_dim: D, the width of the residual stream; a multiple of `num_heads` and of 4 (two axes, sine and cosine).
        num_blocks: attention + MLP blocks.
        num_heads: attention heads a block.
        patch_size: side of a square patch in pixels.
        num_registers: learned tokens without a position beside the class token (arXiv 2309.16588).
        mlp: the MLP's activation: the exact GELU, x sigmoid(1.702 x), GELU's tanh approximation, or SwiGLU.
        mlp_hidden: width inside the MLP, of swiglu of each half; 0 for 4 x `embed_dim`.
        layer_scale: initial value of LayerScale (arXiv 2103.17239) in each block; None for none.
        qkv_bias: whether q, k and v have a bias: all, all but the key (BEiT, DINOv3), or none.
        qk_norm: whether q and k are normalised, each head apart (arXiv 2302.05442, section 2).
        norm_pre: whether a LayerNorm goes before the blocks (CLIP).
        patch_bias: whether the patch filters have a bias.
        class_token: whether there is a class token.
        class_position: whether the position table has a row for the class token.
        positions: of patches: a table that is trained or fixed, rotary (angles of q and k, no parameters), or none.
        position_resize: how the table is brought to another grid, see `pos_embed.resize_pos_embed`.
        relative_position: `table`, a table of relative biases a block (BEiT), or `shared`, one for all; None for none.
        rotary_base: the ratio of the periods of rotary positions, where they are rotary.
        rotary_shift: in training, coordinates of each axis are shifted by a uniform number of at most this; 0 for none.
        rotary_jitter: in training, each axis is scaled by a log-uniform factor from 1 / this to this; 1 for none.
        rotary_rescale: in training, both axes are scaled by such a factor; 1 for none.
        norm_eps: of each LayerNorm.
    """

    name: str
    embed_dim: int
    num_blocks: int
    num_heads: int
    patch_size: int
    num_registers: int = 0
    mlp: MlpKind = "gelu"
    mlp_hidden: int = 0
    layer_scale: float | None = None
    qkv_bias: QkvBias = "all"
    qk_norm: bool = False
    norm_pre: bool = False
    patch_bias: bool = True
    class_token: bool = True
    class_position: bool = True
    positions: Positions = "learned"
    position_resize: PositionResize = "plain"
    relative_position: OwnRelative | None = None
    rotary_base: float = 100.0
    rotary_shift: float = 0.0
    rotary_jitter: float = 1.0
    rotary_rescale: float = 1.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Refuses words that no part has, and parts that exclude each other."""
        for field, words in _WORDS.items():
            if (given := getattr(self, field)) not in words:
                raise UserError(
                    f"got {field} '{given}' for the ViT '{self.name}', expected {', '.join(words)}"
                    f"{nearest(str(given), words)}"
                )
        if self.relative_position not in (None, *get_args(OwnRelative)):
            raise UserError(
                f"got relative_position '{self.relative_position}' for the ViT '{self.name}', expected table, shared "
                "or null; other kinds are options of a task"
            )
        if self.positions == "rotary" and self.relative_position is not None:
            raise UserError(
                f"got rotary positions with relative_position '{self.relative_position}' for the ViT '{self.name}', "
                "expected one of the two; correct its row"
            )

    @property
    def hidden(self) -> int:
        """Width inside the MLP, of swiglu of each half."""
        return self.mlp_hidden or 4 * self.embed_dim


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.load(
        files("maekit.backbone").joinpath("sizes.yaml").read_text(encoding="utf-8"), YAML_LOADER
    )
    return table


def sizes() -> tuple[str, ...]:
    """Returns the words that SIZE may be."""
    return tuple(_table()["sizes"])


def variants() -> tuple[str, ...]:
    """Returns the words that VARIANT may be."""
    return tuple(_table()["variants"])


@cache
def all_sizes() -> dict[str, Size]:
    """Returns the usual ViTs by name, the plain ones first; names of other patches and variants work too."""
    return {name: load_size(name) for name in _table()["usual"]}


def load_size(name: str) -> Size:
    """Returns the ViT called `name`, vit_SIZE_patchP[_regR][_VARIANT]; its name has registers where they are added.

    Raises:
        UserError: the name has another form, or a part that is unknown, which is named with the nearest one.
    """
    rows, changes = _table()["sizes"], _table()["variants"]
    match = re.fullmatch(
        r"vit_(?P<size>\w+?)_patch(?P<patch>[1-9]\d*)(_reg(?P<registers>\d+))?(_(?P<variant>\w+))?", name
    )
    if match is None:
        raise UserError(
            f"got the ViT '{name}', expected {_FORM} with SIZE of {', '.join(rows)} and VARIANT of "
            f"{', '.join(changes)}{nearest(name, _table()['usual'])}"
        )
    size, variant = match["size"], match["variant"]
    if size not in rows:
        raise _unknown(name, "size", size, rows)
    if variant is not None and variant not in changes:
        raise _unknown(name, "variant", variant, changes)
    registers = int(match["registers"]) if match["registers"] else None
    parts = _parts(variant or "", size, registers or 0, changes.get(variant, {}))
    added = registers is not None and registers != parts.get("num_registers", 0)
    said = [f"vit_{size}_patch{int(match['patch'])}", f"reg{registers}" if added else "", variant or ""]
    given = {} if registers is None else {"num_registers": registers}
    return Size("_".join(filter(None, said)), **{**rows[size], **parts, **given, "patch_size": int(match["patch"])})


def _parts(variant: str, size: str, registers: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a variant changes about a size; refuses parts that no ViT has."""
    parts = {key: value for key, value in row.items() if key not in ("at", "with_registers")}
    parts |= row.get("at", {}).get(size, {}) | (row.get("with_registers", {}) if registers else {})
    known = {field.name for field in fields(Size)}
    if unknown := sorted(parts.keys() - known):
        raise UserError(
            f"got the parts {', '.join(unknown)} for the ViT variant '{variant}', expected some of "
            f"{', '.join(sorted(known - {'name'}))}; correct its row in sizes.yaml"
        )
    return parts


def _unknown(name: str, part: str, given: str, known: Iterable[str]) -> UserError:
    known = list(known)
    hint = nearest(name, [name.replace(given, other) for other in known])
    return UserError(
        f"got the ViT '{name}', whose {part} '{given}' is unknown, expected {_FORM} with {part.upper()} of "
        f"{', '.join(known)}{hint}"
    )


def with_patch(name: str, patch_size: int) -> str:
    """Returns the name of the same ViT with another patch, in pixels."""
    return re.sub(r"_patch\d+", f"_patch{patch_size}", name, count=1)
