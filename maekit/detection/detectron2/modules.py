"""detectron2's proposal generator and heads of regions, built from maekit's settings."""

import importlib
import warnings
from collections.abc import Sequence
from types import ModuleType

from torch import nn

from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.errors import UserError


def part(name: str) -> ModuleType:
    """Returns a module of detectron2, or raises a UserError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated functions that it uses
            importlib.import_module("detectron2")
            return importlib.import_module(f"detectron2.{name}")
    except ModuleNotFoundError as error:
        raise UserError(
            f"model.detector: got detectron2, expected it installed ({error.name} is missing); run `python -m pip "
            "install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'`, or give "
            "--model.detector maekit, which finds the same"
        ) from None


def proposal_generator(
    channels: int, levels: Sequence[str], strides: Sequence[int], settings: MaskRCNNSettings
) -> nn.Module:
    """Returns its RPN on maps of so many channels, named `levels`, one for each stride."""
    s = settings
    anchors = part("modeling.anchor_generator").DefaultAnchorGenerator(
        sizes=[[size] for size in s.anchor_sizes], aspect_ratios=s.anchor_ratios, strides=list(strides), offset=0.0
    )
    head = part("modeling.proposal_generator.rpn").StandardRPNHead(
        in_channels=channels, num_anchors=len(s.anchor_ratios), conv_dims=[-1] * s.num_rpn_convs
    )
    module: nn.Module = part("modeling.proposal_generator").RPN(
        in_features=list(levels),
        head=head,
        anchor_generator=anchors,
        anchor_matcher=part("modeling.matcher").Matcher(list(s.rpn_iou), [0, -1, 1], True),
        box2box_transform=part("modeling.box_regression").Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=s.rpn_batch,
        positive_fraction=s.rpn_positive,
        pre_nms_topk=tuple(s.rpn_pre_nms),
        post_nms_topk=tuple(s.rpn_post_nms),
        nms_thresh=s.rpn_nms_iou,
    )
    return module


def region_heads(
    channels: int,
    num_classes: int,
    levels: Sequence[str],
    strides: Sequence[int],
    settings: MaskRCNNSettings,
    *,
    masks: bool,
) -> nn.Module:
    """Returns its StandardROIHeads, or its CascadeROIHeads, on maps named `levels`."""
    s, heads, count = settings, part("modeling.roi_heads"), settings.num_stages
    common: dict[str, object] = {
        "num_classes": num_classes,
        "batch_size_per_image": s.roi_batch,
        "positive_fraction": s.roi_positive,
        "box_in_features": list(levels),
        "box_pooler": _pooler(s.box_pool, strides),
    }
    boxes = [_box_head(channels, s) for _ in range(count)]
    predictors = [_predictor(num_classes, s, stage) for stage in range(count)]
    matchers = [part("modeling.matcher").Matcher([s.stage_iou(stage)], [0, 1], False) for stage in range(count)]
    if masks:
        common |= {
            "mask_in_features": list(levels),
            "mask_pooler": _pooler(s.mask_pool, strides),
            "mask_head": _mask_head(channels, num_classes, s),
        }
    module: nn.Module
    if count > 1:
        module = heads.CascadeROIHeads(box_heads=boxes, box_predictors=predictors, proposal_matchers=matchers, **common)
    else:
        module = heads.StandardROIHeads(
            box_head=boxes[0], box_predictor=predictors[0], proposal_matcher=matchers[0], **common
        )
    return module


def _box_head(channels: int, s: MaskRCNNSettings) -> nn.Module:
    head: nn.Module = part("modeling.roi_heads").FastRCNNConvFCHead(
        part("layers").ShapeSpec(channels=channels, height=s.box_pool, width=s.box_pool),
        conv_dims=[s.head_channels] * s.num_box_convs,
        fc_dims=[s.fc_channels],
        conv_norm=s.norm,
    )
    return head


def _predictor(num_classes: int, s: MaskRCNNSettings, stage: int) -> nn.Module:
    predictor: nn.Module = part("modeling.roi_heads").FastRCNNOutputLayers(
        part("layers").ShapeSpec(channels=s.fc_channels),
        box2box_transform=part("modeling.box_regression").Box2BoxTransform(s.stage_box_weights(stage)),
        num_classes=num_classes,
        cls_agnostic_bbox_reg=s.num_stages > 1,
        test_score_thresh=s.min_score,
        test_nms_thresh=s.nms_iou,
        test_topk_per_image=s.max_detections,
    )
    return predictor


def _mask_head(channels: int, num_classes: int, s: MaskRCNNSettings) -> nn.Module:
    head: nn.Module = part("modeling.roi_heads").MaskRCNNConvUpsampleHead(
        part("layers").ShapeSpec(channels=channels, height=s.mask_pool, width=s.mask_pool),
        num_classes=num_classes,
        conv_dims=[s.head_channels] * (s.num_mask_convs + 1),
        conv_norm=s.norm,
    )
    return head


def _pooler(side: int, strides: Sequence[int]) -> nn.Module:
    scales = tuple(1 / stride for stride in strides)
    pooler: nn.Module = part("modeling.poolers").ROIPooler(side, scales, 0, "ROIAlignV2")
    return pooler
