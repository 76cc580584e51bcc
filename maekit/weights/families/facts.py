"""What there is to say of a file of weights."""

from dataclasses import dataclass
from typing import Literal

from maekit.system.size import HeightWidth


@dataclass(frozen=True)
class Decoder:
    """The decoder's width, blocks, and attention heads where the file says them."""

    embed_dim: int | None
    num_blocks: int
    num_heads: int | None


@dataclass(frozen=True)
class Head:
    """A classifier: its classes, and what of the tokens it is given."""

    num_classes: int
    pooling: Literal["mean", "class"]


@dataclass(frozen=True)
class Facts:
    """What there is to say of a file of weights; names are those of facebookresearch/mae.

    Attributes:
        path: the file or folder.
        layout: whose file it is.
        kind: what it holds.
        in_words: both, for people.
        seems: whose model it looks like where it is a foreign one, such as `a ResNet`; else empty.
        size: the known size it is of, such as vit_base_patch16; None for another.
        embed_dim: width; None where there is no patch embedding.
        num_blocks: blocks.
        patch_size: pixels.
        num_heads: attention heads; None where neither the file nor a known size says.
        says_heads: whether the file says them, or is of a published size; else they are assumed.
        num_tensors: tensors of any sort.
        encoder_parameters: numbers in the encoder, position table and final norm with it, classifier without.
        dtypes: the types of its tensors.
        final_norm: whether there is a norm over the last tokens.
        positions: MAE's fixed table, a learned one (or a changed one), or none.
        pos_grid: patches (h, w) of the position table; None where it cannot be told.
        image_size: pixels (h, w) that go with it.
        decoder: None where there is none.
        classifier: None where there is none.
        class_names: how many class names the file gives.
        epoch: as the file says; None where it does not.
        step: optimizer steps, likewise.
        task: of a run of maekit.
        recipe: likewise.
        norm_pix_loss: whether pre-training predicted normalised pixels; None where the file does not say.
        coverage: share, by numbers, of a ViT of its size that the file holds, in [0, 1]; None where no size is known.
        missing: what of such a ViT is not in it; what its decoder or classifier lacks, if it has one.
        misshapen: what of such a ViT has another shape there, or no floating type.
        channels: of the images that its patch filters take; None where it has none.
        unused: what is neither of such a ViT nor of a decoder or classifier.
        not_finite: tensors with NaN or infinite values.
        set: the key of the set of tensors that was read, see `maekit.weights.state.sets`; empty: the file itself.
        sets: keys of other sets that hold an encoder, to be chosen as FILE#KEY.
        beside: how many tensors are elsewhere in the file, by key.
    """

    path: str
    layout: str
    kind: str
    in_words: str
    seems: str
    size: str | None
    embed_dim: int | None
    num_blocks: int
    patch_size: int | None
    num_heads: int | None
    says_heads: bool
    num_tensors: int
    encoder_parameters: int
    dtypes: tuple[str, ...]
    final_norm: bool
    positions: Literal["sincos", "learned", "none"]
    pos_grid: HeightWidth | None
    image_size: HeightWidth | None
    decoder: Decoder | None
    classifier: Head | None
    class_names: int
    epoch: int | None
    step: int | None
    task: str | None
    recipe: str | None
    norm_pix_loss: bool | None
    coverage: float | None
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    channels: int | None
    unused: tuple[str, ...]
    not_finite: tuple[str, ...]
    set: str
    sets: tuple[str, ...]
    beside: dict[str, int]
