"""Which tensors a whole file of each kind has, and their shapes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.weights.load.fit import channels_problem
from maekit.weights.read.shape import measure
from maekit.weights.read.shorten import some
from maekit.weights.state.foreign import seems
from maekit.weights.state.state_file import StateFile

Sizes = tuple[int, ...]
_DETECTOR = re.compile(r"head\..+|blocks\.\d+\.attn\.position\..+")
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def whole(path: Path, state: StateFile) -> dict[str, Tensor]:
    """The tensors that a file of the state's kind has, in the order of its file; what else is there is left out.

    A pre-training file has encoder and decoder, a classifier or a probe encoder and head. Of a detector only the
    encoder's shapes are known; its head goes as it is.

    Raises:
        UserError: the kind is unknown, or a tensor is missing, of another shape or of no floating type.
    """
    if state.kind == "unknown":
        raise UserError(
            f"{path} holds {some(list(state.tensors), 4)}, expected the ViT of a masked autoencoder"
            f"{seems(state.tensors)}; see what `maekit weights inspect` says of it"
        )
    patches = state.tensors["patch_embed.proj.weight"]
    if patches.ndim == 4 and (other := channels_problem(patches.shape[1])):
        raise UserError(f"{path}: {other}")
    shapes = dict(_shapes(state))
    if missing := [name for name in shapes if name not in state.tensors]:
        raise UserError(f"{path} lacks {len(missing)} tensors of a whole {measure(state.tensors)}: {some(missing)}")
    for name, shape in shapes.items():
        tensor = state.tensors[name]
        if tuple(tensor.shape) != shape:
            raise UserError(f"{path}: {name} is {list(tensor.shape)}, expected {list(shape)}; take another copy")
        if (tensor.dtype not in _FLOATS and shape) or tensor.layout != torch.strided:
            kind = f"{str(tensor.dtype).removeprefix('torch.')}, {str(tensor.layout).removeprefix('torch.')}"
            raise UserError(f"{path}: {name} is {kind}, expected floating numbers; take a copy that is not quantised")
    kept = {name for name in state.tensors if state.kind == "detector" and _DETECTOR.match(name)}
    return {name: tensor for name, tensor in state.tensors.items() if name in shapes or name in kept}


def _shapes(state: StateFile) -> Iterator[tuple[str, Sizes]]:
    tensors = state.tensors
    width, num_blocks, _ = measure(tensors)
    patch = tensors["patch_embed.proj.weight"].shape
    dim = width or 0
    if state.kind != "detector":
        yield "cls_token", (1, 1, dim)
    yield "pos_embed", (1, _length(tensors, "pos_embed"), dim)
    yield "patch_embed.proj.weight", (dim, 3, *patch[2:])
    yield "patch_embed.proj.bias", (dim,)
    yield from _blocks("blocks", num_blocks, dim, _length(tensors, "blocks.0.mlp.fc1.weight", 0))
    if state.kind == "detector":
        return
    norm = "fc_norm" if "fc_norm.weight" in tensors and state.kind in ("classifier_mean", "linear_probe") else "norm"
    yield from _affine(norm, dim)
    if state.kind in ("classifier_mean", "classifier_class"):
        yield from _linear("head", _length(tensors, "head.weight", 0), dim)
    if state.kind == "linear_probe":
        yield from (("head.0.running_mean", (dim,)), ("head.0.running_var", (dim,)), ("head.0.num_batches_tracked", ()))
        yield from _linear("head.1", _length(tensors, "head.1.weight", 0), dim)
    if state.kind == "pretraining":
        yield from _decoder(tensors, dim, patch[2] * patch[3] * 3)


def _decoder(tensors: Mapping[str, Tensor], dim: int, pixels: int) -> Iterator[tuple[str, Sizes]]:
    width = _length(tensors, "decoder_embed.weight", 0)
    depth = len({name.split(".")[1] for name in tensors if name.startswith("decoder_blocks.")})
    yield "mask_token", (1, 1, width)
    yield "decoder_pos_embed", (1, _length(tensors, "pos_embed"), width)
    yield from _linear("decoder_embed", width, dim)
    yield from _blocks("decoder_blocks", depth, width, _length(tensors, "decoder_blocks.0.mlp.fc1.weight", 0))
    yield from _affine("decoder_norm", width)
    yield from _linear("decoder_pred", pixels, width)


def _blocks(stem: str, count: int, dim: int, hidden: int) -> Iterator[tuple[str, Sizes]]:
    for block in (f"{stem}.{index}" for index in range(count)):
        yield from _affine(f"{block}.norm1", dim)
        yield from _linear(f"{block}.attn.qkv", 3 * dim, dim)
        yield from _linear(f"{block}.attn.proj", dim, dim)
        yield from _affine(f"{block}.norm2", dim)
        yield from _linear(f"{block}.mlp.fc1", hidden, dim)
        yield from _linear(f"{block}.mlp.fc2", dim, hidden)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Sizes]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _affine(name: str, dim: int) -> Iterator[tuple[str, Sizes]]:
    yield f"{name}.weight", (dim,)
    yield f"{name}.bias", (dim,)


def _length(tensors: Mapping[str, Tensor], name: str, axis: int = 1) -> int:
    """The length of one axis, 0 where there is no such tensor (it is told as missing then)."""
    tensor = tensors.get(name)
    return tensor.shape[axis] if tensor is not None and tensor.ndim > axis else 0
