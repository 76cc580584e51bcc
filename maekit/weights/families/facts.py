"""The description of a file of weights."""

from dataclasses import dataclass
from typing import Literal

from maekit.system.size import HeightWidth


@dataclass(frozen=True)
class Decoder:
    """The decoder's width, number of blocks, and attention heads; None for what the file does not show."""

    embed_dim: int | None
    num_blocks: int
    num_heads: int | None


@dataclass(frozen=True)
class Head:
    """A classifier: its number of classes, and whether it gets the mean of the patches or the class token."""

    num_classes: int
    pooling: Literal["mean", "class"]


@dataclass(frozen=True)
class Facts:
    """The description of a file of weights; tensors have the names of facebookresearch/mae.

    Attributes:
        path: the file or folder.
        layout: the name of its layout.
        kind: what it holds.
        in_words: layout and kind, for people.
        seems: whose model it looks like where it is a foreign one, such as `a ResNet`; else empty.
        size: the known size, such as vit_base_patch16; None for any other.
        embed_dim: width; None where there is no patch embedding.
        num_blocks: blocks.
        patch_size: pixels.
        num_heads: attention heads; None if neither the file nor a known size determines them.
        says_heads: whether the file records them or is of a published size; else they are assumed.
        num_tensors: tensors of any sort.
        encoder_parameters: numbers in the encoder, position table and final norm with it, classifier without.
        dtypes: the types of its tensors.
        final_norm: whether there is a norm over the last tokens.
        positions: MAE's fixed table, a learned one (or a changed one), or none.
        pos_grid: patches (h, w) of the position table; None where it cannot be told.
        image_size: pixels (h, w) that go with it.
        decoder: None where there is none.
        classifier: None where there is none.
        predicts: what its head predicts, as `DataSpec.target`: classes where the file does not say.
        class_names: how many class names the file gives.
        epoch: as the file says; None where it does not.
        step: optimizer steps, likewise.
        task: of a run of maekit.
        recipe: likewise.
        norm_pix_loss: whether pre-training predicted normalised pixels; None where the file does not say.
        coverage: share, by numbers, of a ViT of its size that the file holds, in [0, 1]; None where no size is known.
        missing: tensors of such a ViT, and of its decoder or classifier if it has one, that are not in it.
        misshapen: tensors of such a ViT that have another shape, or are not floating point.
        channels: of the images that its patch filters take; None without patch filters.
        bands: names of these channels; empty where nothing says them.
        unused: tensors that belong neither to such a ViT nor to a decoder or classifier.
        not_finite: tensors with NaN or infinite values.
        set: the key of the set of tensors that was read, see `maekit.weights.state.sets`; empty: the file itself.
        sets: keys of other sets that hold an encoder, to be chosen as FILE#KEY.
        beside: number of tensors elsewhere in the file, by key.
        lora_rank: of adapters (LoRA), which are counted as merged into their layers; None without any.
        head: of a run whose head can be chosen (`--model.head`), which one it has; None where the file does not say.
        sizes: every row of sizes.yaml that its tensors fit, `size` first.
        parts: what its ViT has other than a plain one, in words; empty where it has nothing.
        architecture: what a configuration of transformers or timm calls the model; empty without one.
        num_registers: register tokens.
        class_token: whether it has a class token.
        pretraining: how it was trained, a word of `state.pretraining`; empty where that cannot be told.
        told_by: how that is known, or why it cannot be told.
        licence: under which terms it was released, as far as its name or its configuration says it; else empty.
        notes: what was changed as it was read, a sentence each.
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
    predicts: str
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
    bands: tuple[str, ...]
    unused: tuple[str, ...]
    not_finite: tuple[str, ...]
    set: str
    sets: tuple[str, ...]
    beside: dict[str, int]
    lora_rank: int | None = None
    head: str | None = None
    sizes: tuple[str, ...] = ()
    parts: str = ""
    architecture: str = ""
    num_registers: int = 0
    class_token: bool = True
    pretraining: str = ""
    told_by: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
