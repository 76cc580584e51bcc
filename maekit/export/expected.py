"""The tensors that a complete file of each kind has, and their shapes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.weights.families.registry import kinds
from maekit.weights.layouts.layout import MASK
from maekit.weights.read.floats import FLOATS
from maekit.weights.read.shorten import some
from maekit.weights.read.vit_shapes import row_shapes, vit_shapes
from maekit.weights.state.foreign import seems
from maekit.weights.state.state_file import StateFile

Sizes = tuple[int, ...]
_OF_GRID = re.compile(r"pos_embed$|\.position\.table$|^shared_bias\.")  # as many rows as the grid asks for
_DETECTOR = re.compile(r"head\..+|blocks\.\d+\.attn\.position\..+")


def whole(path: Path, state: StateFile) -> dict[str, Tensor]:
    """Returns the tensors that a file of the state's kind has, in the order of its file, without any others.

    A pre-training file has encoder and decoder, a classifier or a probe encoder and head. Of a detector only the
    encoder's shapes are known; its head is returned unchecked.

    Raises:
        UserError: the kind is unknown, or a tensor is missing, of another shape or of no floating type.
    """
    if state.kind == "unknown":
        raise UserError(
            f"{path} holds {some(list(state.tensors), 4)}, expected the ViT of a masked autoencoder"
            f"{seems(state.tensors)}; see what `maekit weights inspect` says of it"
        )
    patches, parts = state.tensors["patch_embed.proj.weight"], state.shape.parts
    if state.shape.name is None and (state.shape.num_registers or parts.added()):
        raise UserError(
            f"{path} holds {state.shape}: no row of maekit/backbone/sizes.yaml has these together, so it is not known "
            "how others write it; keep it as it is"
        )
    shapes = dict(_shapes(state))
    if "blocks.0.norm1.weight" not in shapes:
        got = f"patch_embed.proj.weight is {list(patches.shape)}"
        raise UserError(f"{path}: {got}, expected [width, channels, patch, patch] with a width that 4 divides")
    if missing := [name for name in shapes if name not in state.tensors]:
        raise UserError(f"{path} lacks {len(missing)} tensors of a whole {state.shape}: {some(missing)}")
    for name, shape in shapes.items():
        tensor = state.tensors[name]
        if tuple(tensor.shape) != shape:
            raise UserError(f"{path}: {name} is {list(tensor.shape)}, expected {list(shape)}; take another copy")
        if (tensor.dtype not in FLOATS and shape) or tensor.layout != torch.strided:
            kind = f"{str(tensor.dtype).removeprefix('torch.')}, {str(tensor.layout).removeprefix('torch.')}"
            raise UserError(f"{path}: {name} is {kind}, expected floating numbers; take a copy that is not quantised")
    kept = {name for name in state.tensors if state.kind.endswith("detector") and _DETECTOR.match(name)} | {MASK}
    return {name: tensor for name, tensor in state.tensors.items() if name in shapes or name in kept}


def _shapes(state: StateFile) -> Iterator[tuple[str, Sizes]]:
    """Names and shapes of a whole file's tensors; no names of blocks where its width is none that a ViT can have."""
    tensors, plain = state.tensors, kinds()[state.kind].plain_tokens
    width, num_blocks, *_ = state.shape
    patch = tensors["patch_embed.proj.weight"].shape
    dim = width or 0
    pooled = "fc_norm.weight" in tensors and state.kind in ("classifier_mean", "linear_probe")
    channels = patch[1] if len(patch) == 4 else 3
    if state.shape.name and any(state.shape.parts.special()):
        vit = dict(
            row_shapes(
                state.shape.name, (1, 1), channels=channels, class_token=not plain, final_norm=not plain and not pooled
            )
        )
        vit |= {name: tensors[name].shape for name in vit if name in tensors and _OF_GRID.search(name)}
    else:
        vit = vit_shapes(
            dim,
            num_blocks,
            (patch[-2], patch[-1]),
            _length(tensors, "pos_embed"),
            channels=channels,
            hidden=_length(tensors, "blocks.0.mlp.fc1.weight", 0),
            num_registers=state.shape.num_registers,
            class_token=not plain,
            final_norm=not plain and not pooled,
        )
    yield from vit.items()
    if pooled:
        yield from (("fc_norm.weight", (dim,)), ("fc_norm.bias", (dim,)))
    if state.kind in ("classifier_mean", "classifier_class"):
        yield from _linear("head", _length(tensors, "head.weight", 0), dim)
    if state.kind == "linear_probe":
        yield from (("head.0.running_mean", (dim,)), ("head.0.running_var", (dim,)), ("head.0.num_batches_tracked", ()))
        yield from _linear("head.1", _length(tensors, "head.1.weight", 0), dim)
    if state.kind == "pretraining":
        yield from _decoder(tensors, dim, patch[-2] * patch[-1] * patch[1])


def _decoder(tensors: Mapping[str, Tensor], dim: int, pixels: int) -> Iterator[tuple[str, Sizes]]:
    """A decoder's blocks, position table and norm are those of another ViT."""
    width = _length(tensors, "decoder_embed.weight", 0)
    depth = len({name.split(".")[1] for name in tensors if name.startswith("decoder_blocks.")})
    hidden = _length(tensors, "decoder_blocks.0.mlp.fc1.weight", 0)
    vit = vit_shapes(width, depth, (1, 1), _length(tensors, "pos_embed"), hidden=hidden)
    yield "mask_token", (1, 1, width)
    yield from (
        (f"decoder_{name}", shape) for name, shape in vit.items() if name.startswith(("pos_", "blocks", "norm"))
    )
    yield from _linear("decoder_embed", width, dim)
    yield from _linear("decoder_pred", pixels, width)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Sizes]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _length(tensors: Mapping[str, Tensor], name: str, axis: int = 1) -> int:
    """Returns the length of one axis; 0 if there is no such tensor, which `whole` then reports as missing."""
    tensor = tensors.get(name)
    return tensor.shape[axis] if tensor is not None and tensor.ndim > axis else 0
