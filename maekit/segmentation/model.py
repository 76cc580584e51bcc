"""Semantic segmentation on the shared backbone: what every segmentation task has, whatever its head."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.backbone.protocol import Features
from maekit.base.data import RunData, TransferData
from maekit.base.evaluation.confusion import confused
from maekit.base.exportable import Exportable
from maekit.base.model import TransferModel
from maekit.base.spec import DataSpec
from maekit.data.tables.class_weights import file_weights
from maekit.segmentation.data.dataset import SegBatch, SegEvalBatch
from maekit.segmentation.data.palette import spread_palette
from maekit.segmentation.exportable import window_exportable
from maekit.segmentation.head.mmseg.head import MmsegHead
from maekit.segmentation.head.mmseg.inputs import Maps
from maekit.segmentation.head.pixel_loss import pixel_cross_entropy
from maekit.segmentation.metrics import SegmentationMetrics, class_json, class_table
from maekit.segmentation.records import PixelRecords
from maekit.segmentation.settings import HeadSettings, SegmenterSettings
from maekit.segmentation.shown import ShownLabels
from maekit.segmentation.windows import predict_labels, slide
from maekit.system.ranges import check_numbers, check_range
from maekit.system.size import HeightWidth
from maekit.system.terminal import say


class Segmenter(TransferModel):
    """A ViT and a head that turns its maps into logits: evaluation in sliding windows, metrics and pictures.

    A subclass builds `self.head` and, where the mean cross entropy is not its only loss, overrides `training_losses`.
    """

    monitor: tuple[str, Literal["max", "min"]] = ("mIoU", "max")
    on_host: ClassVar[tuple[str, ...]] = ("index",)
    expect_resized = (*TransferModel.expect_resized, "patch_embed.proj.weight")
    class_weights: Tensor | None
    with_class_tokens: bool = False
    about_head: str = ""

    def __init__(
        self,
        spec: DataSpec,
        settings: SegmenterSettings,
        *,
        taps: Sequence[int],
        final_norm: bool,
        relative_position: Literal["table"] | None = None,
        layer_scale: float | None = None,
    ) -> None:
        """Builds the backbone for square crops of `spec.image_size`.

        Args:
            spec: class names, crop size and colours of the data.
            settings: see SegmenterSettings; a subclass takes a dataclass of its own.
            taps: the blocks (from 0) after which the head takes a map.
            final_norm: whether the backbone ends in its LayerNorm.
            relative_position: see ViT.
            layer_scale: see ViT.
        """
        check_range("model.window_stride", settings.window_stride, f"[1, {min(spec.image_size)}]")
        super().__init__(
            spec,
            settings,
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            final_norm=final_norm,
            relative_position=relative_position,
            layer_scale=layer_scale,
        )
        check_numbers("model.taps", taps, f"[0, {self.backbone.num_blocks - 1}]")
        self.taps, self.weighting = taps, settings.class_weights
        self.register_buffer("class_weights", None, persistent=False)
        self.palette = spec.palette or tuple(spread_palette(len(spec.class_names)))
        self.evaluate_at = partial(
            predict_labels,
            num_classes=len(spec.class_names),
            window=HeightWidth(*spec.image_size),
            stride=HeightWidth(settings.window_stride, settings.window_stride),
            batch=settings.window_batch,
            scales=tuple(settings.scales or [1.0]),
            flip=settings.flip,
        )

    def use_mmseg_head(self, settings: HeadSettings, *, aux_channels: int | None = None, aux_index: int = 0) -> None:
        """Builds `self.head`, one of mmsegmentation's, on the maps after the taps, or on the last one without taps.

        Args:
            settings: name the head, with its arguments.
            aux_channels: of an auxiliary head; None for none.
            aux_index: the tap whose map that takes.

        Raises:
            UserError: see MmsegHead.
        """
        given = Maps(
            num_maps=len(self.taps) or 1,
            embed_dim=self.backbone.embed_dim,
            patch_size=self.backbone.patch_size,
            grid=self.backbone.grid,
            class_token=bool(self.taps) and self.backbone.has_class_token,
        )
        head = MmsegHead(
            settings.head,
            settings.head_args or {},
            given,
            channels=settings.head_channels or self.backbone.embed_dim,
            num_classes=len(self.spec.class_names),
            dropout=settings.dropout,
            classifier_std=settings.classifier_std,
            aux_channels=aux_channels,
            aux_index=aux_index,
        )
        self.head, self.least_images, self.about_head = head, head.least_images, head.about
        self.with_class_tokens = head.kind == "tokens"

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns what the head is given of crops [B, 3, H, W]: the maps [B, D, h, w] after the taps.

        A head that reads class tokens is given these too, [B, D] for each tap, after the maps.
        """
        found: Features = self.backbone(images, taps=self.taps)
        return (*found.maps, *found.class_tokens) if self.with_class_tokens else found.maps

    def last_map(self, images: Tensor) -> Tensor:
        """Returns the last block's map [B, D, h, w] of crops [B, 3, H, W], after the final norm if there is one."""
        found: Features = self.backbone(images)
        patches = self.backbone.patch_tokens(found.tokens)
        return patches.transpose(1, 2).reshape(images.shape[0], -1, *self.backbone.patch_grid(images))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [B, C, H, W] of crops [B, 3, H, W], normalised."""
        logits = self.head(self.maps(images))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

    def training_losses(self, batch: SegBatch) -> dict[str, Tensor]:
        """Returns the cross entropy over all pixels, see `pixel_loss`."""
        return {"loss": self.pixel_loss(self.head(self.maps(batch.image)), batch.label)}

    def pixel_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean cross entropy of logits [B, C, h, w] and labels [B, H, W], of weighted classes where asked.

        See `pixel_cross_entropy`.
        """
        if self.weighting != "none" and self.class_weights is None:  # without a run, as in a replay
            self.class_weights = torch.tensor(file_weights(Path(self.weighting), self.spec), device=logits.device)
        return pixel_cross_entropy(logits, labels, weights=self.class_weights)

    def training_data(self, data: TransferData, device: torch.device) -> RunData:
        """Returns the data; a head of mmsegmentation is named, weights of the classes are read, and said.

        Raises:
            UserError: their file does not fit the data.
        """
        if self.about_head:
            say(f"head    {self.about_head}")
        if self.weighting != "none":
            weights = file_weights(Path(self.weighting), self.spec)
            self.class_weights = torch.tensor(weights)
            pairs = sorted(zip(weights, self.spec.class_names, strict=True))
            ends = " to ".join(f"{value:.3g} ('{name}')" for value, name in (pairs[0], pairs[-1]))
            say(f"loss    a pixel counts {ends} by its class, as {self.weighting} says")
        return data

    def example_batch(self, count: int) -> SegBatch:
        """Returns `count` black crops of the first class."""
        images = torch.zeros(count, self.spec.num_channels, *self.spec.image_size)
        labels = torch.zeros_like(images[:, 0], dtype=torch.int64)
        return SegBatch(images, labels, torch.zeros(count, dtype=torch.int64))

    def evaluate_example(self, count: int) -> None:
        """Segments one image four crops wide: evaluation takes images one by one, `window_batch` windows at a time."""
        image = torch.zeros(self.spec.num_channels, self.spec.image_size[0], 4 * self.spec.image_size[1])
        known = self.evaluate_at.keywords
        slide(self, image, **{name: known[name] for name in ("num_classes", "window", "stride", "batch")})

    def new_metrics(self) -> SegmentationMetrics:
        """Returns empty metrics: mIoU, mAcc, aAcc, and the IoU of each class."""
        return SegmentationMetrics(len(self.spec.class_names))

    def update_metrics(self, metrics: SegmentationMetrics, batch: SegEvalBatch) -> None:
        """Predicts a batch image by image, so that one map of all classes is in memory, and adds it to the metrics."""
        for image, label, index in zip(batch.images, batch.labels, batch.index.tolist(), strict=True):
            if index < 0:
                label = torch.full_like(label[:1, :1], 255)
            predicted = self.labels(image, HeightWidth(*label.shape)) if index >= 0 else torch.zeros_like(label)
            metrics.update(predicted, label, index)

    @torch.inference_mode()
    def labels(self, image: Tensor, size: HeightWidth) -> Tensor:
        """Returns the class of each pixel, int64 [h, w] of `size`, for an image [3, H, W] of any size, normalised."""
        return self.evaluate_at(self, image, size=size)

    def table(self, metrics: SegmentationMetrics) -> list[str]:
        """Returns lines with the IoU and accuracy of each class, the worst first."""
        return class_table(self.spec.class_names, metrics)

    def results(self, metrics: SegmentationMetrics) -> dict[str, object]:
        """Returns `per_class.json`, the IoU and accuracy of each class, and `confusion.json`, pixels by class."""
        names = self.spec.class_names
        return {
            "per_class.json": class_json(names, metrics),
            "confusion.json": confused(names, metrics.whole_confusion(), "pixels"),
        }

    def image_records(self, metrics: SegmentationMetrics) -> PixelRecords:
        """Returns the pixels of each class in each image."""
        return metrics.image_records(self.spec.class_names)

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """Returns the logits of windows, see `window_exportable`."""
        head = self.about_head or type(self.head).__name__
        return window_exportable(self, input, self.evaluate_at.keywords, head=head)

    def shown(self) -> ShownLabels:
        """Returns the mIoU of images, panels of labels and predictions, and colour overlays with a legend."""
        return ShownLabels(self)
