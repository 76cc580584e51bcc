"""Queries, keys and values: one stacked projection in our names, three in those of others, perhaps no keys' bias."""

from collections.abc import Mapping

import torch
from torch import Tensor

_PARTS = ("q", "k", "v")


def stacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stacks `*attn.q.*`, `*attn.k.*` and `*attn.v.*` along their rows to `*attn.qkv.*`, in the place of the first.

    Where all three are there and of one kind. Keys without a bias, beside queries and values that have one, get zeros:
    a bias of keys adds the same to all scores of a query, which the softmax does not see.
    """
    joined: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        attention, _, part = stem.rpartition(".")
        if part not in _PARTS or not attention.endswith("attn"):
            joined[name] = tensor
            continue
        trio = [tensors.get(f"{attention}.{each}.{leaf}") for each in _PARTS]
        if leaf == "bias" and trio[1] is None and trio[0] is not None:
            trio[1] = torch.zeros_like(trio[0])
        parts = [each for each in trio if each is not None and each.dtype == tensor.dtype]
        if len({each.shape for each in parts}) != 1 or len(parts) != 3:
            joined[name] = tensor
        elif part == "q":
            joined[f"{attention}.qkv.{leaf}"] = torch.cat(parts)
    return joined


def unstacked(name: str, tensor: Tensor, *, key_bias: bool = True) -> dict[str, Tensor]:
    """Splits `*attn.qkv.weight` or `*attn.qkv.bias` into those of q, k and v; other tensors stay as they are.

    Args:
        name: ours.
        tensor: its rows are queries, keys, values.
        key_bias: whether keys have a bias there; without, the zeros are left out.
    """
    attention, found, leaf = name.partition(".qkv.")
    if not found:
        return {name: tensor}
    parts = zip(_PARTS, tensor.chunk(3), strict=True)
    return {f"{attention}.{part}.{leaf}": each for part, each in parts if key_bias or leaf != "bias" or part != "k"}


def joined_mlp(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins `*mlp.gate.*` and `*mlp.value.*` of SwiGLU to `*mlp.fc1.*`, the gate first; a value alone becomes it."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, part, leaf = name.rpartition(".mlp.value.")
        if not part:
            if ".mlp.gate." not in name:
                found[name] = tensor
            continue
        gate = tensors.get(f"{stem}.mlp.gate.{leaf}")
        found[f"{stem}.mlp.fc1.{leaf}"] = tensor if gate is None else torch.cat([gate, tensor])
    return found


def split_mlp(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Splits `*mlp.fc1.*` of SwiGLU into those of gate and value."""
    gate, value = tensor.chunk(2)
    return {name.replace(".fc1.", ".gate."): gate, name.replace(".fc1.", ".value."): value}


def is_gated(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the MLPs of our names are SwiGLU: their first layers give twice what the second take."""
    first, second = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.mlp.fc2.weight")
    return first is not None and second is not None and len(first) == 2 * second.shape[1]
