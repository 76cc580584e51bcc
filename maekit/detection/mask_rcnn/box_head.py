"""The box head: it predicts the class of each region, and a box for every class or one for all of them."""

from torch import Tensor, nn

from maekit.base.memory_format import MapModule
from maekit.detection.mask_rcnn.layers import NormedConv
from maekit.detection.mask_rcnn.settings import Norm


class BoxHead(MapModule, nn.Sequential):
    """3x3 convolutions and one fully connected layer with ReLU; names are detectron2's.

    The fully connected weight is drawn from a uniform of variance 1 / inputs, its bias is 0.
    """

    def __init__(
        self, in_channels: int, channels: int, fc_channels: int, *, num_convs: int, side: int, norm: Norm
    ) -> None:
        super().__init__()
        for number in range(num_convs):
            self.add_module(f"conv{number + 1}", NormedConv(channels if number else in_channels, channels, norm))
        inputs = (channels if num_convs else in_channels) * side**2
        fc = nn.Linear(inputs, fc_channels)
        nn.init.kaiming_uniform_(fc.weight, a=1)
        nn.init.zeros_(fc.bias)
        self.add_module("flatten", nn.Flatten())
        self.add_module("fc1", fc)
        self.add_module("fc_relu1", nn.ReLU())

    def forward(self, regions: Tensor) -> Tensor:
        """Returns features [R, fc_channels] of regions [R, in_channels, side, side]."""
        out: Tensor = super().forward(self.laid_out(regions))  # type: ignore[no-untyped-call]
        return out


class BoxPredictor(nn.Module):
    """Linear classes and boxes; weights from normals of deviation 0.01 and 0.001, biases 0; names are detectron2's.

    Args:
        channels: D, of the features.
        num_classes: C, without background.
        box_each: whether each class has a box of its own; else all classes share one.
    """

    def __init__(self, channels: int, num_classes: int, *, box_each: bool = True) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, num_classes + 1)
        self.bbox_pred = nn.Linear(channels, 4 * (num_classes if box_each else 1))
        for layer, deviation in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Turns features [R, D] into logits [R, C + 1], the last one background's, and deltas [R, C * 4] or [R, 4]."""
        return self.cls_score(features), self.bbox_pred(features)
