"""The proposal head: for each anchor, whether it is an object and where the object's box is."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.detection.mask_rcnn.anchors import anchor_shapes, grid_anchors
from maekit.detection.mask_rcnn.boxes import BoxCoder
from maekit.detection.mask_rcnn.losses import proposal_losses
from maekit.detection.mask_rcnn.proposals import Proposals, best_proposals
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings


class RPNHead(nn.Module):
    """3x3 convolutions with ReLU, then an objectness and a box for each of A anchors; names are detectron2's.

    Weights are drawn from a normal of deviation 0.01, biases are 0.
    """

    def __init__(self, channels: int, num_convs: int, num_anchors: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs)]
        named: dict[str, nn.Module] = {f"conv{number}": conv for number, conv in enumerate(convs)}
        self.conv: nn.Module = nn.Sequential(OrderedDict(named)) if num_convs > 1 else convs[0]
        self.objectness_logits = nn.Conv2d(channels, num_anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * 4, 1)
        for layer in (*convs, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Turns a map [B, C, h, w] into logits [B, h * w * A] and deltas [B, h * w * A, 4]."""
        for conv in self.conv if isinstance(self.conv, nn.Sequential) else [self.conv]:
            image = F.relu(conv(image), inplace=True)
        logits, deltas = self.objectness_logits(image), self.anchor_deltas(image)
        deltas = deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2)
        return logits.permute(0, 2, 3, 1).flatten(1), deltas.flatten(1, 3)


class Predictions(NamedTuple):
    """The head's output for each map's anchors: anchors [N_i, 4], logits [B, N_i], deltas [B, N_i, 4]."""

    anchors: list[Tensor]
    logits: list[Tensor]
    deltas: list[Tensor]


class RegionProposals(nn.Module):
    """Anchors on every map and one head for all of them."""

    def __init__(self, channels: int, strides: Sequence[int], settings: MaskRCNNSettings) -> None:
        super().__init__()
        self.settings, self.strides = settings, tuple(strides)
        self.shapes = anchor_shapes(settings.anchor_sizes, settings.anchor_ratios)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.rpn_head = RPNHead(channels, settings.num_rpn_convs, len(settings.anchor_ratios))

    def forward(self, maps: Sequence[Tensor]) -> Predictions:
        """Predicts from maps [B, C, h, w], one for each stride."""
        logits, deltas = zip(*(self.rpn_head(image) for image in maps), strict=True)
        return Predictions(grid_anchors(maps, self.strides, self.shapes), list(logits), list(deltas))

    def losses(self, predictions: Predictions, true: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the cross entropy, and the L1 loss of the objects' boxes, B times [K, 4]."""
        return proposal_losses(
            torch.cat(predictions.anchors),
            torch.cat(predictions.logits, 1),
            torch.cat(predictions.deltas, 1),
            true,
            iou=(self.settings.rpn_iou[0], self.settings.rpn_iou[1]),
            count=self.settings.rpn_batch,
            positive=self.settings.rpn_positive,
            coder=self.coder,
        )

    def best(self, predictions: Predictions, size: Tensor, *, training: bool) -> Proposals:
        """Returns the proposals [P, 4] and their logits [P] of each image; `size` [B, 2] is heights and widths.

        On an accelerator empty boxes may follow; see `best_proposals`.
        """
        which = 0 if training else 1
        return best_proposals(
            *predictions,
            size,
            pre_nms=self.settings.rpn_pre_nms[which],
            post_nms=self.settings.rpn_post_nms[which],
            nms_iou=self.settings.rpn_nms_iou,
            coder=self.coder,
        )
