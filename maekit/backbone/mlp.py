"""The MLP of a block, with the activations that published ViTs have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone.sizes import MlpKind


def activate(hidden: Tensor, kind: MlpKind) -> Tensor:
    """Returns what goes into the second layer, [..., H], for what the first gives: [..., H], of swiglu [..., 2 * H].

    - gelu: x Phi(x), exactly; gelu_tanh: its approximation by tanh (arXiv 1606.08415, section 2);
    - quick_gelu: x sigmoid(1.702 x) (there too; github.com/openai/CLIP, clip/model.py);
    - swiglu: silu(gate) * value of the two halves, the gate first (arXiv 2002.05202).
    """
    if kind == "gelu":
        return F.gelu(hidden)
    if kind == "gelu_tanh":
        return F.gelu(hidden, approximate="tanh")
    if kind == "quick_gelu":
        return hidden * torch.sigmoid(1.702 * hidden)
    gate, value = hidden.chunk(2, dim=-1)
    return F.silu(gate) * value


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        embed_dim: D.
        hidden: width between the layers; 0 for four times as wide.
        kind: the activation, see `activate`; of swiglu, `fc1` makes gate and value, [2 * hidden, D].
    """

    def __init__(self, embed_dim: int, hidden: int = 0, kind: MlpKind = "gelu"):
        super().__init__()
        hidden = hidden or 4 * embed_dim
        self.kind = kind
        self.fc1 = nn.Linear(embed_dim, 2 * hidden if kind == "swiglu" else hidden)
        self.fc2 = nn.Linear(hidden, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns [B, N, D] for tokens [B, N, D]."""
        out: Tensor = self.fc2(activate(self.fc1(tokens), self.kind))
        return out
