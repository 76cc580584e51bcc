"""Semantic segmentation on the shared backbone: UperNet, two losses, evaluation in sliding windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from maekit.base.data import RunData
from maekit.base.model import TransferModel
from maekit.base.settings import TunedSettings
from maekit.base.shown import Judged
from maekit.base.spec import DataSpec, Draw
from maekit.data.images.transforms import Normalise
from maekit.segmentation.data.dataset import SegBatch, SegEvalBatch
from maekit.segmentation.data.palette import spread_palette
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.head.head import SegmentationHead
from maekit.segmentation.head.pixel_loss import pixel_cross_entropy
from maekit.segmentation.metrics import SegmentationMetrics, class_json, class_table, image_score
from maekit.segmentation.pictures import panel
from maekit.segmentation.predictions import SegmentationWriter
from maekit.segmentation.windows import predict_labels
from maekit.system.ranges import check_numbers, check_range
from maekit.system.size import HeightWidth

PANEL_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(TunedSettings):
    """A ViT with UperNet.

    Args:
        taps: the four blocks (from 0) after which the residual stream is taken.
        layer_scale: initial value of the learned scale of each block's branches; null for none.
        head_channels: UperNet's channels; null for the backbone's width.
        aux_channels: channels of the auxiliary head.
        aux_weight: of the auxiliary loss, 0 or more.
        dropout: of whole channels before the classifiers, in [0, 1).
        classifier_std: deviation of the classifiers' initial weights, above 0.
        window_stride: pixels between two evaluation windows, which are as large as the crop.
        window_batch: evaluation windows that go through the model at once.
        scales: sizes of the image at which it is evaluated, to be averaged; null for its own alone.
        flip: whether to average with the mirrored image at evaluation.
    """

    taps: list[int]
    layer_scale: float | None
    head_channels: int | None
    aux_channels: int
    aux_weight: float
    dropout: float
    classifier_std: float
    window_stride: int
    window_batch: int = 4
    scales: list[float] | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        check_range("model.layer_scale", self.layer_scale, "(0, inf)")
        check_range("model.head_channels", self.head_channels, "[1, inf)")
        check_range("model.aux_channels", self.aux_channels, "[1, inf)")
        check_range("model.aux_weight", self.aux_weight, "[0, inf)")
        check_range("model.dropout", self.dropout, "[0, 1)")
        check_range("model.classifier_std", self.classifier_std, "(0, inf)")
        check_range("model.window_batch", self.window_batch, "[1, inf)")
        check_numbers("model.scales", self.scales, "(0, inf)", None if self.scales else 1)


class Segmenter(TransferModel):
    """A ViT with relative position biases, tapped after four blocks, and UperNet on the maps."""

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("mIoU", "max")
    example_score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("mIoU", "high")
    head: SegmentationHead

    def __init__(self, spec: DataSpec, settings: SegmenterSettings) -> None:
        """Builds backbone and heads for square crops of `spec.image_size`."""
        check_range("model.window_stride", settings.window_stride, f"[1, {min(spec.image_size)}]")
        super().__init__(
            spec,
            settings,
            final_norm=False,
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            relative_position="table",
            layer_scale=settings.layer_scale,
        )
        check_numbers("model.taps", settings.taps, f"[0, {self.backbone.num_blocks - 1}]", 4)
        self.palette = spec.palette or tuple(spread_palette(len(spec.class_names)))
        width = self.backbone.embed_dim
        self.taps, self.aux_weight = settings.taps, settings.aux_weight
        self.head = SegmentationHead(
            width,
            channels=settings.head_channels or width,
            aux_channels=settings.aux_channels,
            num_classes=len(spec.class_names),
            dropout=settings.dropout,
            classifier_std=settings.classifier_std,
        )
        self.expect_new = (*TransferModel.expect_new, "blocks.*.gamma_*", "blocks.*.attn.position.table")
        self.expect_unused = (*TransferModel.expect_unused, "norm.*", "fc_norm.*")
        self.expect_resized = (*TransferModel.expect_resized, "patch_embed.proj.weight")
        self.evaluate_at = partial(
            predict_labels,
            num_classes=len(spec.class_names),
            window=HeightWidth(*spec.image_size),
            stride=HeightWidth(settings.window_stride, settings.window_stride),
            batch=settings.window_batch,
            scales=tuple(settings.scales or [1.0]),
            flip=settings.flip,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Crops [B, 3, H, W], normalised, to logits [B, C, H, W]."""
        logits = self.head(self.backbone.features(images, self.taps).maps)
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

    def training_losses(self, batch: SegBatch) -> dict[str, Tensor]:
        """Cross entropy over all pixels, and the auxiliary head's."""
        logits, aux = self.head.both(self.backbone.features(batch.image, self.taps).maps)
        decode, auxiliary = pixel_cross_entropy(logits, batch.label), pixel_cross_entropy(aux, batch.label)
        return {"loss": decode + self.aux_weight * auxiliary, "decode": decode, "auxiliary": auxiliary}

    def new_metrics(self) -> SegmentationMetrics:
        """mIoU, mAcc, aAcc, and the IoU of each class."""
        return SegmentationMetrics(len(self.spec.class_names))

    def update_metrics(self, metrics: SegmentationMetrics, batch: SegEvalBatch) -> None:
        """Adds a batch, image by image: one map of all classes at a time."""
        for image, label, index in zip(batch.images, batch.labels, batch.index.tolist(), strict=True):
            if index < 0:
                label = torch.full_like(label[:1, :1], 255)
            predicted = self.labels(image, HeightWidth(*label.shape)) if index >= 0 else torch.zeros_like(label)
            metrics.update(predicted, label)

    @torch.inference_mode()
    def labels(self, image: Tensor, size: HeightWidth) -> Tensor:
        """One image [3, H, W], normalised, of any size, to the class of each pixel, int64 [h, w] at `size`."""
        return self.evaluate_at(self, image, size=size)

    def table(self, metrics: SegmentationMetrics) -> list[str]:
        """The IoU and accuracy of each class, the worst first."""
        return class_table(self.spec.class_names, metrics)

    def picture(self, data: RunData) -> Image.Image | None:
        """A few validation images, the same ones each time, with their labels and what the model makes of them."""
        count = len(data.val_dataset())
        rows = min(PANEL_ROWS, count)
        return self._panel(data, [number * count // rows for number in range(rows)])

    def results(self, metrics: SegmentationMetrics) -> dict[str, Any]:
        """The IoU and accuracy of each class."""
        return {"per_class.json": class_json(self.spec.class_names, metrics)}

    def judge(self, batch: SegEvalBatch) -> list[Judged]:
        """The mIoU of each image alone, in percent."""
        judged = []
        for image, label in zip(batch.images, batch.labels, strict=True):
            predicted = self.labels(image, HeightWidth(*label.shape))
            score = image_score(predicted, label, len(self.spec.class_names))
            judged.append(Judged(score.miou, f"mIoU {score.miou:.1f}, {score.right:.1f} % of the pixels right"))
        return judged

    def example_picture(self, data: RunData, index: int) -> Image.Image:
        """The image, its labels, and what the model makes of it."""
        return self._panel(data, [index])

    def _panel(self, data: RunData, indices: Sequence[int]) -> Image.Image:
        images, device = data.val_dataset(), next(self.parameters()).device
        normalise = Normalise(data.input_transform()["mean"], data.input_transform()["std"])
        rows = []
        for index in indices:
            sample = images[Draw(0, index)]
            label = sample.label.numpy()
            predicted = self.labels(sample.image.to(device), HeightWidth(*label.shape)).cpu().numpy()
            rows.append((normalise.undo(sample.image), label, predicted))
        return panel(rows, self.palette, self.spec.class_names)

    def prediction_writer(self, folder: Path, input: Mapping[str, Any]) -> SegmentationWriter:
        """Colour overlays with a legend, and the labels themselves."""
        transform = SegEvalTransform(**input)
        return SegmentationWriter(folder, self.spec.class_names, self.palette, transform, self.labels)
