"""The linear classifier on pooled tokens."""

from typing import Literal, get_args

from torch import Tensor, nn

from maekit.errors import UserError, nearest

Pooling = Literal["mean", "class"]


class LinearHead(nn.Module):
    """Classifies pooled tokens, as facebookresearch/mae fine-tunes (models_vit.py, main_finetune.py).

    "mean": the mean of the patch tokens through a fresh LayerNorm `fc_norm` (the backbone then has no final norm);
    "class": the class token, which the backbone's final norm has seen.
    The weight is drawn from a normal of standard deviation `init_std` cut at +-2 (absolute), the bias is 0.

    Raises:
        UserError: an unknown pooling.
    """

    def __init__(self, embed_dim: int, num_classes: int, *, pooling: Pooling, init_std: float) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            hint = nearest(pooling, get_args(Pooling))
            raise UserError(f"got pooling '{pooling}', expected mean or class{hint}; set --model.pooling")
        self.pooling = pooling
        self.fc_norm = nn.LayerNorm(embed_dim, eps=1e-6) if pooling == "mean" else nn.Identity()
        self.fc = nn.Linear(embed_dim, num_classes)
        nn.init.trunc_normal_(self.fc.weight, std=init_std, a=-2.0, b=2.0)
        nn.init.zeros_(self.fc.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Turns pooled tokens [B, D] into logits [B, C]."""
        logits: Tensor = self.fc(self.fc_norm(pooled))
        return logits
