"""The linear probe's classifier."""

from torch import Tensor, nn

from maekit.errors import UserError


class ProbeHead(nn.Module):
    """A linear classifier on features [B, D], which BatchNorm without weights of its own may bring to one scale first.

    As facebookresearch/mae probes (main_linprobe.py @ efb2a80): the statistics are those of the device's own batch in
    training, never synchronised, and the running ones in evaluation. facebookresearch's dino, dinov2 and moco-v3 probe
    without. The weight is drawn from a normal of standard deviation `init_std` cut at +-2 (absolute), the bias is 0.
    """

    def __init__(self, width: int, num_classes: int, *, init_std: float, batch_norm: bool = True) -> None:
        super().__init__()
        self.fc_norm = nn.BatchNorm1d(width, affine=False, eps=1e-6) if batch_norm else nn.Identity()
        self.fc = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.fc.weight, std=init_std, a=-2.0, b=2.0)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Turns features [B, D] into logits [B, C]; training on a batch of one is a UserError."""
        if self.training and len(features) < 2 and isinstance(self.fc_norm, nn.BatchNorm1d):
            raise UserError(
                "got a device batch of 1, expected 2 or more, which BatchNorm needs to measure; "
                "set --data.device_batch_size"
            )
        logits: Tensor = self.fc(self.fc_norm(features))
        return logits
