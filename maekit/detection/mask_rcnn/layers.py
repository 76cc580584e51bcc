"""The convolution of the box and mask heads."""

from torch import Tensor, nn
from torch.nn import functional as F

from maekit.detection.channel_norm import ChannelNorm
from maekit.detection.mask_rcnn.settings import Norm


class NormedConv(nn.Conv2d):
    """A 3x3 convolution without bias, a norm, ReLU; the norm's names are `norm.*` beside `weight`, as detectron2's.

    The weight is drawn from a normal of variance 2 / (outputs * 9) (He et al., 1502.01852, fan out).
    """

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        super().__init__(in_channels, channels, 3, padding=1, bias=False)
        self.norm: nn.Module = ChannelNorm(channels) if norm == "LN" else nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Tensor) -> Tensor:
        """Turns maps [R, C, h, w] into maps [R, channels, h, w]; R may be 0, and the gradients are zeros then."""
        convolved = super().forward(maps)
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d) and maps.shape[0] == 0:  # it measures nothing, but its weights are used
            return convolved * norm.weight[:, None, None] + norm.bias[:, None, None]
        return F.relu(norm(convolved), inplace=True)
