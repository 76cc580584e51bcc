"""Stands in for a model's transformer blocks in a counted pass: blocks of one kind are counted once, not 32 times."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from maekit.backbone.attention import Grid
from maekit.backbone.block import Block
from maekit.planning.autograd import backward
from maekit.planning.ledger import Ledger
from maekit.planning.target import Target

Key = tuple[object, ...]


@dataclass(frozen=True)
class BlockCost:
    """What one call of a block needs.

    Attributes:
        saved: bytes saved for the backward pass, its input not among them.
        weight_copies: bytes of autocast's copies of its weights.
        forward_work: bytes that its forward pass has at once beyond these.
        work: bytes that forward and backward have at once beyond these.
        forward_flops: arithmetic of the forward pass.
        backward_flops: arithmetic of the backward pass.
    """

    saved: int
    weight_copies: int
    forward_work: int
    work: int
    forward_flops: int
    backward_flops: int


class Costs:
    """The cost of each kind of block for each shape that it is given, and the arithmetic of all calls so far.

    Args:
        target: device and precision.
        ledger: counts the pass in which the blocks are called.
    """

    def __init__(self, target: Target, ledger: Ledger) -> None:
        self.target, self.ledger = target, ledger
        self._known: dict[Key, BlockCost] = {}
        self.copies: list[Tensor] = []  # of weights, which autocast keeps until it ends
        self.flops = 0

    def of(self, block: Block, tokens: Tensor, grid: Grid, rotation: Tensor | None) -> BlockCost:
        """Returns the cost of a call; the first one of its kind and shape is counted."""
        trained = tuple(parameter.requires_grad for parameter in block.parameters())
        kind = (type(block.attn.position), block.window, block.drop_path > 0, block.training, trained)
        turned = None if rotation is None else tuple(rotation.shape)
        key = (*kind, tuple(tokens.shape), tokens.dtype, grid, turned, torch.is_grad_enabled(), tokens.requires_grad)
        if key not in self._known:
            self.ledger.paused = True
            made = torch.empty(tokens.shape, dtype=tokens.dtype, requires_grad=tokens.requires_grad)
            self._known[key] = count_block(block, made, grid, self.target, rotation)
            self.ledger.paused = False
        return self._known[key]


def count_block(block: Block, tokens: Tensor, grid: Grid, target: Target, rotation: Tensor | None = None) -> BlockCost:
    """Returns the cost of a block, forward and backward, on fake tokens [B, N, D], turned by `rotation` or not."""
    owned = [tokens, *([] if rotation is None else [rotation]), *block.parameters(), *block.buffers()]
    with target.kernels() as kernels, Ledger(owned, block.parameters()) as ledger:
        with target.autocast():
            out = block(tokens, grid, rotation)
        saved, copies, forward_peak = ledger.saved(), ledger.weight_copies(), ledger.peak
        forward = ledger.flops + kernels.flops
        ledger.release()
        if out.requires_grad:
            backward(out)
    total = ledger.flops + kernels.flops
    kept = saved + copies
    return BlockCost(saved, copies, max(forward_peak - kept, 0), max(ledger.peak - kept, 0), forward, total - forward)


class BlockStandIn(nn.Module):
    """Takes the memory and the arithmetic of a block, whose result is not computed."""

    def __init__(self, block: Block, costs: Costs) -> None:
        super().__init__()
        self.block, self.costs = block, costs

    def forward(self, tokens: Tensor, grid: Grid, rotation: Tensor | None = None) -> Tensor:
        """Returns tokens [B, N, D] in the type of the block's result, which is the residual stream's."""
        cost = self.costs.of(self.block, tokens, grid, rotation)
        weight = next((p for p in self.block.parameters() if p.requires_grad), None)
        if cost.weight_copies and torch.is_grad_enabled():
            copies = torch.empty(cost.weight_copies, dtype=torch.uint8)
            self.costs.copies.append(copies)
        else:
            copies = torch.empty(0, dtype=torch.uint8)
        # the input of a frozen norm is not kept where it needs no gradient, as of the first block with adapters
        kept = tokens.requires_grad or self.block.norm1.weight.requires_grad
        out: Tensor = _Spent.apply(tokens, weight, copies, rotation, cost, self.costs, kept)
        return out


class _Spent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        weight: Tensor | None,
        copies: Tensor,
        rotation: Tensor | None,
        cost: BlockCost,
        costs: Costs,
        kept: bool,
    ) -> Tensor:
        costs.flops += cost.forward_flops
        ctx.cost, ctx.costs, ctx.like = cost, costs, (tokens.shape, tokens.dtype)
        ctx.save_for_backward(tokens if kept else None, torch.empty(cost.saved, dtype=torch.uint8), copies, rotation)
        torch.empty(cost.forward_work, dtype=torch.uint8)
        return torch.empty_like(tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, None, None, None, None, None, None]:
        _ = ctx.saved_tensors
        ctx.costs.flops += ctx.cost.backward_flops
        torch.empty(ctx.cost.work, dtype=torch.uint8)
        shape, dtype = ctx.like
        d_tokens = torch.empty(shape, dtype=dtype) if ctx.needs_input_grad[0] else None
        return d_tokens, None, None, None, None, None, None


@contextmanager
def stood_in(model: nn.Module, costs: Costs) -> Iterator[None]:
    """Replaces every transformer block of a model, and puts it back."""
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, Block)
    ]
    try:
        for parent, name, block in places:
            parent.add_module(name, BlockStandIn(block, costs))
        yield
    finally:
        for parent, name, block in places:
            parent.add_module(name, block)
