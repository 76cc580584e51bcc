"""The settings of segmentation models, which are the flags `--model.*` of their tasks."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from maekit.base.settings import TunedSettings
from maekit.errors import UserError, nearest
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
class HeadSettings(SegmenterSettings):
    """The settings of a segmentation model whose head can be one of mmsegmentation's.

    Args:
        head: maekit, the task's own head, or a decode head of mmsegmentation on the same maps, as mmseg:UPerHead; these
            are in the extra maekit[mmseg] (docs/heads.md).
        head_args: arguments of mmsegmentation's head, as {num_convs: 2} or --model.head_args.num_convs 2; its widths,
            inputs, classes and losses follow from the run.
        head_channels: channels of UperNet or of mmsegmentation's head; null for the backbone's width.
    """

    head: str = "maekit"
    head_args: dict[str, Any] | None = None
    head_channels: int | None = None

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.head_channels", self.head_channels, "[1, inf)")
        if not re.fullmatch(r"maekit|mmseg:\w+", self.head):
            name = self.head.rpartition(":")[2] or "UPerHead"
            hint = f"; did you mean 'mmseg:{name}'?" if name.endswith("Head") else nearest(self.head, ["maekit"])
            raise UserError(f"model.head: got {self.head}, expected maekit, or mmseg:NAME as mmseg:UPerHead{hint}")
        if self.head_args and self.head == "maekit":
            raise UserError(
                f"model.head_args: got {', '.join(self.head_args)} with model.head maekit, expected them with a head "
                "of mmsegmentation; add --model.head mmseg:NAME, or --model.head_args null"
            )


@dataclass(frozen=True, kw_only=True)
class LinearSettings(HeadSettings):
    """The settings of a ViT with a head on its last map."""

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        if self.head == "maekit" and self.head_channels is not None:
            raise UserError(
                f"model.head_channels: got {self.head_channels}, expected null: the linear head has none of its own; "
                "leave it out, or add --model.head mmseg:NAME"
            )


@dataclass(frozen=True, kw_only=True)
class UperNetSettings(HeadSettings):
    """The settings of a ViT with UperNet, or with a head of mmsegmentation on the same maps.

    Args:
        taps: the blocks (from 0) after which the residual stream is taken: four for UperNet.
        layer_scale: initial value of the learned scale of each block's branches; null for none.
        aux_channels: channels of the auxiliary head.
        aux_index: the tap (from 0) whose map the auxiliary head takes.
        aux_weight: of the auxiliary loss, 0 or more.
    """

    of_depth: ClassVar[tuple[str, ...]] = ("taps",)
    taps: list[int]
    layer_scale: float | None
    aux_channels: int
    aux_index: int
    aux_weight: float

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.layer_scale", self.layer_scale, "(0, inf)")
        check_range("model.aux_channels", self.aux_channels, "[1, inf)")
        check_range("model.aux_weight", self.aux_weight, "[0, inf)")
        if self.head == "maekit":
            check_numbers("model.taps", self.taps, "[0, inf)", 4)
        if not self.taps:
            raise UserError("model.taps: got [], expected one block or more, as [3,5,7,11]; most heads take four")
        if not 0 <= self.aux_index < len(self.taps):
            raise UserError(
                f"model.aux_index: got {self.aux_index}, expected 0 to {len(self.taps) - 1}: one of the "
                f"{len(self.taps)} maps after model.taps {self.taps}; give --model.aux_index {len(self.taps) - 1}"
            )
