"""Copies between an accelerator and the host: one at a time that waits, and any number that do not."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Returns the tensors in the host's memory, without gradients; from an accelerator in one copy, which waits for it.

    Args:
        tensors: all on one device, or in the host's memory already.
    """
    away = [tensor.detach() for tensor in tensors if tensor.device.type != "cpu"]
    if not away:
        return [tensor.detach() for tensor in tensors]
    joined = torch.cat([tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in away]).cpu()
    sizes = [tensor.numel() * tensor.element_size() for tensor in away]
    copies = iter(
        part.clone().view(tensor.dtype).view(tensor.shape)
        for part, tensor in zip(torch.split(joined, sizes), away, strict=True)
    )
    return [tensor.detach() if tensor.device.type == "cpu" else next(copies) for tensor in tensors]


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor of the host's memory on a device, which the host does not wait for where that is safe."""
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()  # a larger copy from pageable memory would wait
    return tensor.to(device, non_blocking=device.type != "mps")  # whose copies may outlive the memory they read
