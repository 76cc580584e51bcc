"""The mask head: it predicts for each region and every class which cells belong to the object."""

from torch import Tensor, nn

from maekit.base.memory_format import MapModule
from maekit.detection.mask_rcnn.layers import NormedConv
from maekit.detection.mask_rcnn.settings import Norm


class MaskHead(MapModule, nn.Sequential):
    """Turns regions [R, in_channels, m, m] into logits [R, C, 2m, 2m]: 3x3 convolutions, a deconvolution, a 1x1 one.

    Names are detectron2's. The deconvolution's weight is drawn as the convolutions' are (fan out), the last one's from
    a normal of deviation 0.001; biases are 0.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, *, num_convs: int, norm: Norm) -> None:
        super().__init__()
        for number in range(num_convs):
            self.add_module(f"mask_fcn{number + 1}", NormedConv(channels if number else in_channels, channels, norm))
        deconv = nn.ConvTranspose2d(channels if num_convs else in_channels, channels, 2, stride=2)
        predictor = nn.Conv2d(channels, num_classes, 1)
        nn.init.kaiming_normal_(deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(predictor.weight, std=0.001)
        for layer in (deconv, predictor):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.add_module("deconv", deconv)
        self.add_module("deconv_relu", nn.ReLU(inplace=True))
        self.add_module("predictor", predictor)

    def forward(self, regions: Tensor) -> Tensor:
        """Returns logits [R, C, 2m, 2m]."""
        out: Tensor = super().forward(self.laid_out(regions))  # type: ignore[no-untyped-call]
        return out
