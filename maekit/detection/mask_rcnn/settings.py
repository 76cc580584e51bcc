"""The settings of a Mask R-CNN, or of a Cascade Mask R-CNN."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from maekit.errors import UserError

Norm = Literal["LN", "BN"]
MOST_STAGES = 8  # of a cascade; its authors tried 4


@dataclass(frozen=True)
class MaskRCNNSettings:
    """Layers, sampling and selection of a Mask R-CNN.

    Args:
        norm: after each convolution of the box and mask heads: LN over the channels of each pixel, or BN.
        num_rpn_convs: 3x3 convolutions of the proposal head, 1 or more; as wide as the pyramid, without norm.
        num_box_convs: 3x3 convolutions of the box head, 0 or more.
        num_mask_convs: 3x3 convolutions of the mask head before its deconvolution, 0 or more.
        head_channels: of the box and mask heads' convolutions.
        fc_channels: of the box head's fully connected layer.
        anchor_sizes: square root of the anchors' area in pixels, one for each map of the pyramid.
        anchor_ratios: height over width of the anchors at each place.
        rpn_iou: an anchor that overlaps no object by the first is background, by the second an object.
        rpn_batch: anchors drawn from each image to train on.
        rpn_positive: share of them, at most, that are objects.
        rpn_pre_nms: proposals of each map that enter suppression, in training and in evaluation.
        rpn_post_nms: proposals of all maps together that leave it, in training and in evaluation.
        rpn_nms_iou: overlap above which the lesser of two proposals of one map goes.
        roi_iou: overlap from which a proposal is the object.
        roi_batch: proposals drawn from each image to train on.
        roi_positive: share of them, at most, that are objects.
        box_pool: cells a side that the box head sees of a region.
        mask_pool: cells a side that the mask head sees; its masks have twice as many.
        box_weights: factors of a box's offset in x and y and of the logarithms of width and height, as learned.
        min_score: detections must be above it, 0 to 1.
        nms_iou: overlap above which the lesser of two detections of one class goes.
        max_detections: kept of each image.
        cascade_iou: overlap from which a box is the object in each stage after the first, whose overlap is roi_iou
            (Cascade R-CNN, arXiv 1712.00726); empty for Mask R-CNN, which has one stage. With more, each stage predicts
            one box for all classes together.
        cascade_box_weights: box_weights of the same stages, four numbers each.
    """

    norm: Norm
    num_rpn_convs: int
    num_box_convs: int
    num_mask_convs: int
    head_channels: int
    fc_channels: int
    anchor_sizes: list[float]
    anchor_ratios: list[float]
    rpn_iou: list[float]
    rpn_batch: int
    rpn_positive: float
    rpn_pre_nms: list[int]
    rpn_post_nms: list[int]
    rpn_nms_iou: float
    roi_iou: float
    roi_batch: int
    roi_positive: float
    box_pool: int
    mask_pool: int
    box_weights: list[float]
    min_score: float
    nms_iou: float
    max_detections: int
    cascade_iou: list[float] = field(default_factory=list)
    cascade_box_weights: list[list[float]] = field(default_factory=list)

    @property
    def num_stages(self) -> int:
        """Box heads that a region passes through: 1, or those of a cascade."""
        return 1 + len(self.cascade_iou)

    def stage_iou(self, stage: int) -> float:
        """Returns the overlap from which a box is the object in a stage, counted from 0."""
        return [self.roi_iou, *self.cascade_iou][stage]

    def stage_box_weights(self, stage: int) -> tuple[float, float, float, float]:
        """Returns the factors of a box's offset and size in a stage, counted from 0."""
        wx, wy, ww, wh = [self.box_weights, *self.cascade_box_weights][stage]
        return float(wx), float(wy), float(ww), float(wh)

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        _require("norm", self.norm in get_args(Norm), "LN or BN", self.norm)
        self._check_whole_numbers()
        for name in ("rpn_positive", "rpn_nms_iou", "roi_iou", "roi_positive", "min_score", "nms_iou"):
            value = getattr(self, name)
            _require(name, 0 <= value <= 1, "0 to 1", value)
        low_to_high = len(self.rpn_iou) == 2 and 0 <= self.rpn_iou[0] <= self.rpn_iou[1] <= 1
        _require("rpn_iou", low_to_high, "two overlaps from 0 to 1, the lower one first", self.rpn_iou)
        for name, count in (("rpn_pre_nms", 2), ("rpn_post_nms", 2), ("box_weights", 4)):
            values = getattr(self, name)
            _require(name, len(values) == count and min(values) > 0, f"{count} numbers above 0", values)
        for name in ("anchor_sizes", "anchor_ratios"):
            values = getattr(self, name)
            _require(name, bool(values) and min(values) > 0, "one number or more, each above 0", values)
        self._check_cascade()

    def _check_cascade(self) -> None:
        overlaps, weights = self.cascade_iou, self.cascade_box_weights
        _require("cascade_iou", self.num_stages <= MOST_STAGES, f"at most {MOST_STAGES - 1} more stages", overlaps)
        fits = all(0 <= value <= 1 for value in overlaps)
        _require("cascade_iou", fits, "an overlap from 0 to 1 for each stage after the first", overlaps)
        four = all(len(numbers) == 4 and min(numbers) > 0 for numbers in weights)
        _require("cascade_box_weights", four, "four numbers above 0 for each stage after the first", weights)
        if len(weights) != len(overlaps):
            raise UserError(
                f"model.mask_rcnn.cascade_box_weights: got the weights of {len(weights)} stages, expected "
                f"{len(overlaps)}, one for each overlap in model.mask_rcnn.cascade_iou {overlaps}"
            )

    def _check_whole_numbers(self) -> None:
        for name in ("num_box_convs", "num_mask_convs"):
            _require(name, getattr(self, name) >= 0, "0 or more", getattr(self, name))
        above = ("num_rpn_convs", "head_channels", "fc_channels", "rpn_batch", "roi_batch", "box_pool", "mask_pool")
        for name in (*above, "max_detections"):
            _require(name, getattr(self, name) >= 1, "1 or more", getattr(self, name))


def _require(name: str, fits: bool, expected: str, got: object) -> None:
    if not fits:
        raise UserError(f"model.mask_rcnn.{name}: got {got}, expected {expected}")
