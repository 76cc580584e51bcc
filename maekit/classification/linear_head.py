"""The linear classifier on pooled tokens."""

from typing import Literal, get_args

from torch import Tensor, nn

from maekit.errors import UserError, nearest

Pooling = Literal["mean", "class"]


class LinearHead(nn.Module):
    """Pools the tokens and classifies them, as facebookresearch/mae fine-tunes (models_vit.py, main_finetune.py).

    "mean": the mean of the patch tokens through a fresh LayerNorm `fc_norm` (the backbone then has no final norm);
    "class": the class token, which the backbone's final norm has seen. The class token is tokens[:, 0] in both.
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

    def forward(self, tokens: Tensor) -> Tensor:
        """Turns tokens [B, 1 + N, D], class token first, into logits [B, C]."""
        pooled = tokens[:, 1:].mean(1) if self.pooling == "mean" else tokens[:, 0]
        logits: Tensor = self.fc(self.fc_norm(pooled))
        return logits
