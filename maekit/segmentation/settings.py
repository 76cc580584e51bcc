"""The settings of segmentation models, which are the flags `--model.*` of their tasks."""

from dataclasses import dataclass
from typing import ClassVar

from maekit.base.settings import TunedSettings
from maekit.errors import UserError
from maekit.system.ranges import check_numbers, check_range


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(TunedSettings):
    """The settings of every segmentation model.

    Args:
        dropout: of whole channels before the classifiers, in [0, 1).
        classifier_std: deviation of the classifiers' initial weights, above 0.
        window_stride: pixels between two evaluation windows, which are as large as the crop.
        window_batch: evaluation windows that go through the model at once.
        scales: sizes of the image at which it is evaluated, to be averaged; null for its own alone.
        flip: whether to average with the mirrored image at evaluation.
        class_weights: what a pixel of each class counts in the training loss: `none`, all the same, or a CSV, JSON or
            YAML file of class names and weights.
    """

    dropout: float
    classifier_std: float
    window_stride: int
    window_batch: int = 4
    scales: list[float] | None = None
    flip: bool = False
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.dropout", self.dropout, "[0, 1)")
        check_range("model.classifier_std", self.classifier_std, "(0, inf)")
        check_range("model.window_batch", self.window_batch, "[1, inf)")
        if self.class_weights == "auto":
            raise UserError(
                "model.class_weights: got auto, expected none or a file of classes and weights: how many pixels each "
                "class has is not counted; give --model.class_weights FILE"
            )
        check_numbers("model.scales", self.scales, "(0, inf)", None if self.scales else 1)


@dataclass(frozen=True, kw_only=True)
class UperNetSettings(SegmenterSettings):
    """The settings of a ViT with UperNet.

    Args:
        taps: the four blocks (from 0) after which the residual stream is taken.
        layer_scale: initial value of the learned scale of each block's branches; null for none.
        head_channels: UperNet's channels; null for the backbone's width.
        aux_channels: channels of the auxiliary head.
        aux_weight: of the auxiliary loss, 0 or more.
    """

    of_depth: ClassVar[tuple[str, ...]] = ("taps",)
    taps: list[int]
    layer_scale: float | None
    head_channels: int | None
    aux_channels: int
    aux_weight: float

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.layer_scale", self.layer_scale, "(0, inf)")
        check_range("model.head_channels", self.head_channels, "[1, inf)")
        check_range("model.aux_channels", self.aux_channels, "[1, inf)")
        check_range("model.aux_weight", self.aux_weight, "[0, inf)")
