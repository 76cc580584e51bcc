"""The same Mask R-CNN, run by detectron2's own modules where it is installed."""

import importlib
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn

from maekit.detection.data.batch import InstanceMask
from maekit.detection.mask_rcnn.boxes import not_empty, sizes_of
from maekit.detection.mask_rcnn.mask_rcnn import check_anchor_sizes
from maekit.detection.mask_rcnn.select import rescaled
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import Detections, Truth
from maekit.errors import UserError
from maekit.system.size import HeightWidth

_NAMES = {"loss_rpn_cls": "rpn_cls", "loss_rpn_loc": "rpn_loc", "loss_cls": "cls", "loss_box_reg": "box_reg"}
_NAMES |= {"loss_mask": "mask"}


class _Boxes(Protocol):
    tensor: Tensor


class _Found(Protocol):
    """detectron2's Instances of one image: boxes [K, 4], scores [K], classes [K] and masks [K, 1, M, M]."""

    pred_boxes: _Boxes
    scores: Tensor
    pred_classes: Tensor
    pred_masks: Tensor


class Detectron2MaskRCNN(nn.Module):
    """`MaskRCNN` made of detectron2's RPN and StandardROIHeads: same arguments, names of weights and results.

    Raises:
        UserError: detectron2 is not installed, or as `MaskRCNN`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        settings: MaskRCNNSettings,
        *,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
    ) -> None:
        super().__init__()
        check_anchor_sizes(settings, strides)
        self.settings = settings
        self.strides = tuple(strides)
        self.levels = [f"p{number}" for number in range(2, 2 + len(strides))]
        self.proposal_generator = self._proposal_generator(in_channels)
        self.roi_heads = self._roi_heads(in_channels, num_classes)

    def losses(self, maps: Sequence[Tensor], batch: Truth) -> dict[str, Tensor]:
        """Returns the losses of one batch; see `MaskRCNN.losses`."""
        self.train()
        truth = self._instances(batch, maps[0].device)
        images, features = self._images(maps, batch.size), dict(zip(self.levels, maps, strict=True))
        with _part("utils.events").EventStorage():  # detectron2 logs there, and raises without one
            proposals, losses = self.proposal_generator(images, features, truth)
            losses = losses | self.roi_heads(images, features, proposals, truth)[1]
        return {ours: losses[theirs] for theirs, ours in _NAMES.items()}

    @torch.no_grad()
    def detect(self, maps: Sequence[Tensor], size: Tensor, original: Tensor) -> list[Detections]:
        """Returns the objects of each image; see `MaskRCNN.detect`."""
        self.eval()
        images, features = self._images(maps, size), dict(zip(self.levels, maps, strict=True))
        proposals, _ = self.proposal_generator(images, features, None)
        found, _ = self.roi_heads(images, features, proposals, None)
        return [
            _detections(image, inside, outside)
            for image, inside, outside in zip(found, sizes_of(size), sizes_of(original), strict=True)
        ]

    def _proposal_generator(self, channels: int) -> nn.Module:
        s, rpn = self.settings, _part("modeling.proposal_generator")
        anchors = _part("modeling.anchor_generator").DefaultAnchorGenerator(
            sizes=[[size] for size in s.anchor_sizes],
            aspect_ratios=s.anchor_ratios,
            strides=list(self.strides),
            offset=0.0,
        )
        dims = [-1] * s.num_rpn_convs
        head = _part("modeling.proposal_generator.rpn").StandardRPNHead(
            in_channels=channels, num_anchors=len(s.anchor_ratios), conv_dims=dims
        )
        module: nn.Module = rpn.RPN(
            in_features=self.levels,
            head=head,
            anchor_generator=anchors,
            anchor_matcher=_part("modeling.matcher").Matcher(list(s.rpn_iou), [0, -1, 1], True),
            box2box_transform=_part("modeling.box_regression").Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
            batch_size_per_image=s.rpn_batch,
            positive_fraction=s.rpn_positive,
            pre_nms_topk=tuple(s.rpn_pre_nms),
            post_nms_topk=tuple(s.rpn_post_nms),
            nms_thresh=s.rpn_nms_iou,
        )
        return module

    def _roi_heads(self, channels: int, num_classes: int) -> nn.Module:
        s, heads = self.settings, _part("modeling.roi_heads")
        shape, dims = _part("layers").ShapeSpec, [s.head_channels]
        box_head = heads.FastRCNNConvFCHead(
            shape(channels=channels, height=s.box_pool, width=s.box_pool),
            conv_dims=dims * s.num_box_convs,
            fc_dims=[s.fc_channels],
            conv_norm=s.norm,
        )
        predictor = heads.FastRCNNOutputLayers(
            shape(channels=s.fc_channels),
            box2box_transform=_part("modeling.box_regression").Box2BoxTransform(tuple(map(float, s.box_weights))),
            num_classes=num_classes,
            test_score_thresh=s.min_score,
            test_nms_thresh=s.nms_iou,
            test_topk_per_image=s.max_detections,
        )
        mask_head = heads.MaskRCNNConvUpsampleHead(
            shape(channels=channels, height=s.mask_pool, width=s.mask_pool),
            num_classes=num_classes,
            conv_dims=dims * (s.num_mask_convs + 1),
            conv_norm=s.norm,
        )
        module: nn.Module = heads.StandardROIHeads(
            num_classes=num_classes,
            batch_size_per_image=s.roi_batch,
            positive_fraction=s.roi_positive,
            proposal_matcher=_part("modeling.matcher").Matcher([s.roi_iou], [0, 1], False),
            box_in_features=self.levels[:-1],
            box_pooler=self._pooler(s.box_pool),
            box_head=box_head,
            box_predictor=predictor,
            mask_in_features=self.levels[:-1],
            mask_pooler=self._pooler(s.mask_pool),
            mask_head=mask_head,
        )
        return module

    def _pooler(self, side: int) -> nn.Module:
        scales = tuple(1 / stride for stride in self.strides[:-1])
        pooler: nn.Module = _part("modeling.poolers").ROIPooler(side, scales, 0, "ROIAlignV2")
        return pooler

    def _images(self, maps: Sequence[Tensor], size: Tensor) -> object:
        """Returns an ImageList without pixels: the heads need the sizes only."""
        return _part("structures").ImageList(maps[0].new_empty(len(size), 3, 1, 1), sizes_of(size))

    def _instances(self, batch: Truth, device: torch.device) -> list[object]:
        structures = _part("structures")
        images = zip(sizes_of(batch.size), batch.boxes, batch.labels, batch.masks, strict=True)
        instances = []
        for size, boxes, labels, masks in images:
            image = structures.Instances(size)
            image.gt_boxes = structures.Boxes(boxes.to(device))
            image.gt_classes = labels.to(device)
            image.gt_masks = _shapes(structures, masks)
            instances.append(image)
        return instances


def _shapes(structures: ModuleType, masks: Sequence[InstanceMask]) -> object:
    """Returns an image's shapes, all as polygons or else all as bitmaps, since detectron2 cannot mix them."""
    if all(mask.bitmap is None for mask in masks):
        return structures.PolygonMasks([list(mask.polygons) for mask in masks])
    height, width = next(mask.bitmap.shape for mask in masks if mask.bitmap is not None)
    draw = _part("structures.masks").polygons_to_bitmask
    bitmaps = [draw(list(m.polygons), height, width) if m.bitmap is None else m.bitmap for m in masks]
    return structures.BitMasks(torch.stack([torch.from_numpy(bitmap) for bitmap in bitmaps]))


def _detections(image: _Found, size: HeightWidth, original: HeightWidth) -> Detections:
    boxes = rescaled(image.pred_boxes.tensor, size, original)
    kept = not_empty(boxes)
    return Detections(boxes[kept], image.scores[kept], image.pred_classes[kept], image.pred_masks[kept, 0].float())


def _part(name: str) -> ModuleType:
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
