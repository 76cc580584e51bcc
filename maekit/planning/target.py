"""A device that is planned for and need not be there: its kernels and its autocast, on fake tensors of the CPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from maekit.backbone import tiled

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# CUDA's autocast computes these in fp32; the CPU's leaves them in the type of their input. Source: torch's
# documentation, "CUDA Ops that can autocast to float32"; those that a model of ours calls.
_FLOAT32_ON_CUDA = {F.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax, F.log_softmax}
_IS_CPU = Tensor.is_cpu.__get__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Target:
    """A kind of device and the precision of its run.

    Attributes:
        kind: cuda, mps or cpu.
        precision: 32-true, bf16-mixed or 16-mixed.
    """

    kind: str
    precision: str

    @property
    def half(self) -> torch.dtype | None:
        """The type that autocast computes in; None without autocast."""
        return HALF.get(self.precision)

    def autocast(self) -> torch.autocast:
        """Returns the run's autocast around its forward pass; of fake tensors on the CPU, see `TargetKernels`."""
        return torch.autocast("cpu", dtype=self.half or torch.bfloat16, enabled=self.half is not None)

    @contextmanager
    def kernels(self) -> Iterator["TargetKernels"]:
        """Runs what is inside as this device would, on tensors that are fake or on the meta device or on the CPU."""
        kernels = TargetKernels(self.kind)
        tile = tiled.TILE
        with ExitStack() as stack:
            tiled.TILE = 2**62  # one tile: as many bytes are saved, and a fake pass has not thousands of operations
            stack.callback(setattr, tiled, "TILE", tile)
            stack.enter_context(kernels)
            yield kernels


class TargetKernels(TorchFunctionMode):
    """Answers as the target would where that decides what is saved for the backward pass.

    Fused attention saves queries, keys, values, the result and one number a query (log-sum-exp), never an N x N matrix:
    flash attention on CUDA and torch's own on a CPU. A mask that needs a gradient has none on a CPU; on CUDA the
    memory-efficient kernel takes it, and saves the mask as well.

    Attributes:
        flops: of the fused attention, forward and backward.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.on_cpu, self.flops = kind == "cpu", 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one function of torch; see the class."""
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **given)
        if self.on_cpu:
            return func(*args, **given)
        if func == _IS_CPU:
            return False
        if torch.is_autocast_enabled("cpu"):
            if func in _FLOAT32_ON_CUDA:
                with torch.autocast("cpu", enabled=False):
                    return func(*(_float32(value) for value in args), **{k: _float32(v) for k, v in given.items()})
            if func is F.interpolate:  # in the input's type on CUDA
                with torch.autocast("cpu", enabled=False):
                    return func(*args, **given)
        return func(*args, **given)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, scale: float | None = None
    ) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            q, k, v = (part.to(half) for part in (q, k, v))
            attn_mask = None if attn_mask is None else attn_mask.to(half)
        out: Tensor = _FusedAttention.apply(q, k, v, attn_mask, self)
        return out


class _FusedAttention(torch.autograd.Function):
    """The memory and arithmetic of fused attention; its values are not computed."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, kernels: TargetKernels) -> Tensor:
        out, log_sum_exp = torch.empty_like(q), q.new_empty(q.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(q, k, v, mask, out, log_sum_exp)
        ctx.kernels = kernels
        kernels.flops += _products(q, k, 2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, _, _ = ctx.saved_tensors
        ctx.kernels.flops += _products(q, k, 5)  # scores once more, and the gradients of v, weights, q and k
        d_mask = torch.empty_like(mask) if mask is not None and ctx.needs_input_grad[3] else None
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), d_mask, None


def _products(q: Tensor, k: Tensor, count: int) -> int:
    """Floating-point operations of so many products of the size of q k^T; a multiplication and an addition are two."""
    return count * 2 * q.numel() * k.shape[-2]


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
