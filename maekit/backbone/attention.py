"""Self-attention over patch tokens, global or in windows, with an exchangeable position module.

The position module computes the attention: `position(q, k, v, grid) -> out`, all [B, heads, N, d]. `Plain` has no
relative positions; modules with a bias table or a decomposed table replace it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone.keyless import KeylessLinear, without_key
from maekit.backbone.lora import LoraLinear
from maekit.backbone.rotary import rotate
from maekit.backbone.sizes import QkvBias

Grid = tuple[int, int]
NORM_EPS = 1e-6

# On a CPU whose bf16 matrix products run in oneDNN (AVX-512 or AMX), the fused kernel cuts a short sequence into
# products too small to be fast: one layer at 8 x 197 tokens, forward and backward, took 31 ms fused and 11 ms written
# out, while at 1025 tokens fused won; the limit lies between these two and was not measured more closely.
# Where torch falls back to its own bf16 products (AVX2), fused is faster at every length (8 x 197: 290 against 600 ms,
# 1 x 1025: 1.6 against 8.0 s), and in fp32 the two are within 10 % up to 600 tokens, where fused needs less memory.
FAST_BF16_PRODUCTS: bool = torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
_SHORT_SEQUENCE = 512


def attend_written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Returns softmax(q k^T / sqrt(d)) v for q, k, v [B, heads, N, d], as three operations and an N x N matrix."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    out: Tensor = scores.softmax(dim=-1) @ v
    return out


class Plain(nn.Module):
    """Attention by content alone, without relative positions; the grid is ignored."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Returns what each query attends to, [B, heads, N, d], for q, k, v of that shape."""
        if FAST_BF16_PRODUCTS and q.is_cpu and q.dtype == torch.bfloat16 and q.shape[-2] <= _SHORT_SEQUENCE:
            return attend_written_out(q, k, v)
        return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Multi-head self-attention with projections `qkv` (q, k, v in this order) and `proj`.

    Args:
        embed_dim: D, a multiple of `num_heads`.
        num_heads: attention heads.
        position: the module that attends, `position(q, k, v, grid)`.
        qkv_bias: which of q, k and v have a bias, see `Size`; `proj` has one.
        qk_norm: whether q and k are normalised, each head apart, by `q_norm` and `k_norm`, before they are turned.
        norm_eps: of these norms.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        position: nn.Module,
        *,
        qkv_bias: QkvBias = "all",
        qk_norm: bool = False,
        norm_eps: float = NORM_EPS,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.keyless = qkv_bias == "no_key"
        linear = KeylessLinear if self.keyless else nn.Linear
        self.qkv = linear(embed_dim, 3 * embed_dim, bias=qkv_bias != "none")
        self.q_norm, self.k_norm = (
            nn.LayerNorm(embed_dim // num_heads, eps=norm_eps) if qk_norm else None for _ in range(2)
        )
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.position = position

    def forward(self, tokens: Tensor, grid: Grid, window: int = 0, rotation: Tensor | None = None) -> Tensor:
        """Returns [B, N, D] for tokens [B, N, D] that lie on `grid` (h, w), prefix tokens before them or not.

        With `window`, patches attend within squares of `window` x `window` of them; there is no place for a class
        token then. The padding of the last squares is of zero tokens and takes part in the attention (ViTDet does not
        mask it), so a window larger than the grid is not global attention.

        With `rotation`, queries and keys are turned by it (`rotary.rotate`): [N, 2, d] or [B, N, 2, d], with `window`
        [h*w, 2, d] of the grid that is padded to whole windows. A patch so keeps its coordinates on the whole image in
        whatever window it lies; what two patches of a window know of each other is their distance, as without windows.
        """
        if window:
            if rotation is not None:
                rotation = partition_rotation(rotation, grid, window, tokens.shape[0])
            attended = self._attend(self._windows(tokens, grid, window), (window, window), rotation)
            attended = unpartition(attended, grid, window)
        else:
            attended = self._attend(self.qkv(tokens), grid, rotation)
        projected: Tensor = self.proj(attended)
        return projected

    def _attend(self, qkv: Tensor, grid: Grid, rotation: Tensor | None) -> Tensor:
        """Returns [B, N, D] for queries, keys and values [B, N, 3 * D]."""
        batch, length, width = qkv.shape
        # Splitting before the heads are moved lets the backward pass gather the three gradients in the layout of
        # `qkv` in one copy; moving the whole tensor first would cost it a second.
        parts = qkv.view(batch, length, 3, self.num_heads, width // 3 // self.num_heads)
        if self.q_norm is None and rotation is None:
            q, k, v = parts.unbind(2)
        else:
            both, values = torch.split(parts, [2, 1], dim=2)
            q, k = self._placed(both, rotation).unbind(2)
            v = values.squeeze(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        out: Tensor = self.position(q, k, v, grid)
        return out.transpose(1, 2).reshape(batch, length, width // 3)

    def _placed(self, both: Tensor, rotation: Tensor | None) -> Tensor:
        """Returns queries and keys [B, N, 2, heads, d], normalised and turned, where the attention does that."""
        if self.q_norm is not None and self.k_norm is not None:
            query, key = both.unbind(2)
            both = torch.stack([self.q_norm(query), self.k_norm(key)], dim=2).to(both.dtype)
        return both if rotation is None else rotate(both, rotation)

    def _windows(self, tokens: Tensor, grid: Grid, window: int) -> Tensor:
        """Returns queries, keys and values in windows, [B * windows, window * window, 3 * D].

        A zero token's are the bias alone, so padding is not projected: it is added once windows are made.
        """
        if grid[0] % window == 0 and grid[1] % window == 0:
            return partition(self.qkv(tokens), grid, window)
        # an adapted layer (LoRA) gives zero tokens their bias too
        projected = (
            self.qkv.without_bias(tokens) if isinstance(self.qkv, LoraLinear) else F.linear(tokens, self.qkv.weight)
        )
        windows = partition(projected, grid, window)
        bias: Tensor | None = self.qkv.bias
        if bias is None:
            return windows
        return windows + (without_key(bias) if self.keyless else bias).to(windows.dtype)


def partition(tokens: Tensor, grid: Grid, window: int) -> Tensor:
    """Cuts tokens [B, h*w, D] of `grid` (h, w) into square windows, [B * windows, window*window, D].

    The grid is padded with zeros at the bottom and on the right to whole windows, as in ViTDet.
    """
    batch, _, width = tokens.shape
    rows, columns = (-(-side // window) for side in grid)
    image = tokens.reshape(batch, *grid, width)
    image = F.pad(image, (0, 0, 0, columns * window - grid[1], 0, rows * window - grid[0]))
    cut = image.view(batch, rows, window, columns, window, width).transpose(2, 3)
    return cut.reshape(batch * rows * columns, window * window, width)


def partition_rotation(rotation: Tensor, grid: Grid, window: int, batch: int) -> Tensor:
    """Cuts the rotation [h*w, 2, d] of a padded `grid` into the windows of `batch` images, [B * windows, w*w, 2, d]."""
    padded = (-(-grid[0] // window) * window, -(-grid[1] // window) * window)
    cut = partition(rotation.flatten(1)[None], padded, window).view(-1, window * window, *rotation.shape[1:])
    return cut.expand(batch, *cut.shape).flatten(0, 1)


def unpartition(windows: Tensor, grid: Grid, window: int) -> Tensor:
    """Undoes `partition`: windows [B * windows, window*window, D] to tokens [B, h*w, D], the padding removed."""
    rows, columns = (-(-side // window) for side in grid)
    batch, width = windows.shape[0] // (rows * columns), windows.shape[2]
    cut = windows.view(batch, rows, columns, window, window, width).transpose(2, 3)
    image = cut.reshape(batch, rows * window, columns * window, width)[:, : grid[0], : grid[1]]
    return image.reshape(batch, grid[0] * grid[1], width)
