"""One transformer block: attention and an MLP, each normalised before and added to the residual stream after."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from maekit.backbone.attention import NORM_EPS, Attention, Grid, Plain
from maekit.backbone.mlp import Mlp
from maekit.backbone.sizes import MlpKind, QkvBias


def add_branch(
    tokens: Tensor, branch: Callable[..., Tensor], drop_path: float, each: tuple[Tensor, ...] = ()
) -> Tensor:
    """Returns tokens + branch(tokens, *each) for tokens [B, N, D], with stochastic depth (drop path).

    Each sample loses the branch with probability `drop_path` (0 <= drop_path < 1), drawn from the generator of
    the tokens' device; the branch of the others is divided by 1 - drop_path. `each` are tensors [B, ...].
    """
    if drop_path == 0.0:
        return tokens + branch(tokens, *each)
    keep = tokens.new_empty(tokens.shape[0]).bernoulli_(1.0 - drop_path)
    scale = 1.0 / (1.0 - drop_path)
    if not tokens.is_cpu or torch.compiler.is_compiling():
        return tokens + branch(tokens, *each) * (scale * keep)[:, None, None]
    # On a CPU, where arithmetic is what costs, a branch that would be multiplied by zero is not computed. With no
    # sample left it still runs, on an empty batch: its parameters then have gradients, of zero, as DDP needs.
    # Elsewhere reading the draws would stall the device, and a compiler wants fixed shapes.
    kept = keep.nonzero().squeeze(1)
    if len(kept) == len(keep):
        return torch.add(tokens, branch(tokens, *each), alpha=scale)
    added = branch(*(given.index_select(0, kept) for given in (tokens, *each)))
    return tokens.index_add(0, kept, added.to(tokens.dtype), alpha=scale)


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        embed_dim: D, a multiple of `num_heads`.
        num_heads: attention heads.
        drop_path: probability that a sample skips a branch in training; attention and MLP are drawn separately.
        window: side in patches of the windows attention is confined to; 0 for the whole grid.
        position: the module that attends; None for attention by content alone.
        layer_scale: initial value of the learned scale of each channel of the two branches (LayerScale, arXiv
            2103.17239; `gamma_1` and `gamma_2` as BEiT calls them); None for no scale.
        mlp: the MLP's activation.
        mlp_hidden: width inside the MLP; 0 for 4 x `embed_dim`.
        qkv_bias: which of q, k and v have a bias.
        qk_norm: whether q and k are normalised.
        norm_eps: of each LayerNorm.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        drop_path: float,
        window: int,
        position: nn.Module | None = None,
        layer_scale: float | None = None,
        mlp: MlpKind = "gelu",
        mlp_hidden: int = 0,
        qkv_bias: QkvBias = "all",
        qk_norm: bool = False,
        norm_eps: float = NORM_EPS,
    ):
        super().__init__()
        self.drop_path = drop_path
        self.window = window
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(
            embed_dim, num_heads, position or Plain(), qkv_bias=qkv_bias, qk_norm=qk_norm, norm_eps=norm_eps
        )
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = Mlp(embed_dim, mlp_hidden, mlp)
        self.gamma_1, self.gamma_2 = (
            None if layer_scale is None else nn.Parameter(torch.full((embed_dim,), layer_scale)) for _ in range(2)
        )

    def forward(self, tokens: Tensor, grid: Grid, rotation: Tensor | None = None) -> Tensor:
        """Returns the residual stream [B, N, D] after the block.

        Args:
            tokens: [B, N, D].
            grid: patches (h, w) on which they lie.
            rotation: rotary positions, see `Attention.forward`.
        """
        tokens = tokens.view_as(tokens)  # joins the gradients of both branches first, as sharding (FSDP2) does
        drop_path = self.drop_path if self.training else 0.0
        if rotation is not None and rotation.ndim == 4:  # one an image
            tokens = add_branch(tokens, lambda x, r: self._attend(x, grid, r), drop_path, (rotation,))
        else:
            tokens = add_branch(tokens, lambda x: self._attend(x, grid, rotation), drop_path)
        return add_branch(tokens, self._transform, drop_path)

    def _attend(self, tokens: Tensor, grid: Grid, rotation: Tensor | None) -> Tensor:
        attended: Tensor = self.attn(self.norm1(tokens), grid, self.window, rotation)
        return attended if self.gamma_1 is None else attended * self.gamma_1

    def _transform(self, tokens: Tensor) -> Tensor:
        transformed: Tensor = self.mlp(self.norm2(tokens))
        return transformed if self.gamma_2 is None else transformed * self.gamma_2
