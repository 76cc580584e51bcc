"""Tensors that FSDP2 shards (DTensors) beside plain ones: one process's part, the whole, and back."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether each process holds a part of this tensor only; none does before DTensors are imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


@torch.no_grad()
def local(tensor: Tensor) -> Tensor:
    """Returns this process's part of a sharded tensor, sharing its memory; a plain tensor as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """Returns all of a sharded tensor, so every process must call it; a plain tensor as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def gathered(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Returns whole tensors by name, the sharded ones on the CPU; every process must call it.

    Args:
        tensors: of the same names in every process.
        keep: whether this process wants them; the others give their parts, and get none of the sharded ones.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if keep or not is_sharded(tensor):
            # copied, since the gathered tensor may lie in a larger, padded storage, which would be saved with it
            found[name] = full.to("cpu", copy=True) if is_sharded(tensor) else full
    return found


def copied(tensor: Tensor, like: Tensor) -> Tensor:
    """Returns a copy of a tensor on the device, and with the shards, of another of the same shape.

    Args:
        tensor: whole and the same in every process, or sharded as `like` is.
        like: sharded or plain.
    """
    moved = tensor.detach().to(like.device, like.dtype, copy=True)
    if is_sharded(like) and not is_sharded(tensor):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
    return moved


def summed(partial: Tensor, *, sharded: bool) -> Tensor:
    """Returns a sum over the parts of all processes, such as of squares, by one all-reduce; not sharded: as it is."""
    if sharded:
        torch.distributed.all_reduce(partial)
    return partial


def joined_norms(norms: Tensor, *, sharded: bool) -> Tensor:
    """Returns the L2 norms [P] of whole tensors, from those of this process's parts where they are sharded."""
    if not sharded:
        return norms
    return summed(norms.double().square(), sharded=True).sqrt().to(norms.dtype)  # fp32 squares may overflow
