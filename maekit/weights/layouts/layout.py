"""What a layout of weights is: how one project names the tensors of a ViT, and what its files hold beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from maekit.backbone.sizes import Size

PATCHES = "patch_embed.proj.weight"  # facebookresearch/mae's and timm's name of the patch filters
MASK = "encoder_mask_token"  # our name of the token [1, 1, D] that a pre-training put in the places of hidden patches

Tensors = Mapping[str, Tensor]
Metadata = Mapping[str, object]


@dataclass(frozen=True)
class Contents:
    """One set of tensors of a file, and what is known of the file.

    Attributes:
        tensors: by the names they have in the file.
        metadata: what the file says beside its tensors, such as `args` and `epoch`.
        key: where in the file the tensors are, such as `state_dict`; empty for the file itself.
    """

    tensors: Tensors
    metadata: Metadata
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a layout knows of a file that its tensors do not show.

    Attributes:
        pretraining: how the ViT was trained, a word of `state.pretraining`; empty where that cannot be told.
        variant: the variant of sizes.yaml (empty: the plain ViT); None where the tensors alone decide.
        backbone: the name of the ViT, where the file records it; empty where it does not.
        num_heads: attention heads; None for those of the size.
        notes: what was changed on the way to our names that a user must know, a sentence each.
    """

    pretraining: str = ""
    variant: str | None = None
    backbone: str = ""
    num_heads: int | None = None
    notes: tuple[str, ...] = ()


NOTHING_SAID = Said()


def is_plain(size: Size) -> bool:
    """Whether a ViT has the parts of MAE's and no others, whatever its numbers."""
    plain = Size(size.name, size.embed_dim, size.num_blocks, size.num_heads, size.patch_size, norm_eps=size.norm_eps)
    table = "learned" if size.positions == "fixed" else size.positions
    return replace(size, mlp_hidden=0, positions=table, position_resize=plain.position_resize) == plain


def _unchanged(_path: Path, tensors: Tensors) -> dict[str, Tensor]:
    return dict(tensors)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one project names a ViT's tensors. Each file of this folder with a `LAYOUT` adds one; see `registry`.

    "Our names" are those of facebookresearch/mae (`blocks.0.attn.qkv.weight`, `head.weight`, `decoder_pred.bias`).

    Attributes:
        name: short, for reports and tests.
        words: the same for people.
        recognise: whether a set of tensors has this layout, given the prefix of the encoder in it (`backbone.`).
        to_ours: gives tensors of the file at a path our names, given that prefix; other tensors keep their names.
        rank: layouts of a higher rank are asked only where none of a lower one recognises the tensors: 0 knows them by
            their names, 1 by the file around them, 2 takes the rest.
        patches: the name of the patch filters within an encoder, by which encoders are found.
        encoder: the prefix of the encoder that is meant where files of this layout hold several; `recognise` is asked
            for it first. Empty: a file holds one.
        part: which part of a file a tensor belongs to, by its name; empty for the model itself. Other parts are
            counted in reports but not read.
        beside: patterns (fnmatch, our names) of what such a model has beside the ViT that no model here needs.
        metadata: what of a file's metadata is put under the names that `read.metadata` and `load.classes` look for.
        num_heads: attention heads by a file's metadata; None where it does not say.
        meant: the keys of a file that holds several sets of weights in this layout, the one that is meant first.
        says: what is known of a file beyond its tensors, given these under our names.
        sizes_are_ours: whether the attention heads are those of maekit's table of sizes, without a doubt.
        foreign: regular expressions of names, and what a file with such a name seems to hold where it cannot be read.
        writes: the word of `maekit weights convert --to`; empty where nobody writes this layout.
        from_ours: the reverse of `to_ours`, for whole files; what the layout has no place for is left out.
        kinds: of file that a folder of transformers so written holds beside an encoder alone, where it is no plain ViT.
        holds: whether a ViT of a size can be written so; of several layouts with one word the first that can is taken,
            the lowest rank first.
        config: what the configuration beside a written file has more or other than every one, given the size and the
            tensors under our names: for `hf` keys of config.json, for `timm` its `architecture` and `model_args`.
        remarks: what writing tensors of our names changes about them, a line each.
    """

    name: str
    words: str
    recognise: Callable[[Contents, str], bool]
    to_ours: Callable[[Path, Tensors, str], dict[str, Tensor]]
    rank: Literal[0, 1, 2] = 0
    patches: str = PATCHES
    encoder: str = ""
    part: Callable[[str], str] = lambda _name: ""
    beside: tuple[str, ...] = ()
    metadata: Callable[[Metadata], Metadata] = lambda _metadata: {}
    num_heads: Callable[[Metadata], int | None] = lambda _metadata: None
    meant: tuple[str, ...] = ()
    says: Callable[[Contents, Tensors], Said] = lambda _contents, _ours: Said()
    sizes_are_ours: bool = False
    foreign: tuple[tuple[str, str], ...] = ()
    writes: str = ""
    from_ours: Callable[[Path, Tensors], dict[str, Tensor]] = _unchanged
    kinds: tuple[str, ...] = ()
    holds: Callable[[Size], bool] = lambda _size: True
    config: Callable[[Size, Tensors], Mapping[str, object]] = lambda _size, _tensors: {}
    remarks: Callable[[Tensors], tuple[str, ...]] = lambda _tensors: ()
