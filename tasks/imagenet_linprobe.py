"""ImageNet-1K linear probe: a classifier on the frozen backbone's class token (MAE paper, Table 12).

Backbone: a plain ViT, frozen; its features may be computed once and kept (`cached_features`).
Head: BatchNorm without weights (or none) and a linear layer, on the class token, the mean of the patch tokens, or both.
Loss: cross entropy.
Metric: top-1 on centre crops; also top-5, the loss, and the top-1 of each class.
Data: ImageNet-1K, or any folder of class folders; random crops and mirroring.
Own data: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg, of which a share is set aside; or a table
    of files and classes (`--data.table labels.csv`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.base.data import RunData, TransferData
from maekit.base.exportable import Exportable, Runs, method_replaced
from maekit.base.spec import DataSpec
from maekit.classification.cached_features import cache_features
from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.metrics import ClassificationMetrics
from maekit.classification.model import Classifier, ClassifierSettings
from maekit.classification.probe_head import ProbeHead
from maekit.classification.side_by_side import CHOSEN, SideBySide, SideBySideMetrics
from maekit.data.images.batch import ImageBatch
from maekit.errors import UserError
from maekit.system.ranges import check_numbers, check_range

__all__ = ["Data", "Model"]


@dataclass(frozen=True, kw_only=True)
class Settings(ClassifierSettings):
    """A linear probe.

    Args:
        head_init_std: standard deviation of the classifier's initial weights.
        pooling: what is classified: the `class` token after the final norm, as published for MAE; `class_mean`, it and
            the mean of the patch tokens, both after that norm, one behind the other, as DINOv2 probes; or the `mean` of
            the patch tokens, normalised, for weights that were fine-tuned with mean pooling and have no final norm.
        batch_norm: bring the features to one scale first, by BatchNorm without weights, as published for MAE; DINO,
            DINOv2 and MoCo v3 probe without.
        lr_factors: train one classifier for each of these, side by side, at so many times optim.base_lr or optim.lr, as
            DINOv2 probes; the metrics are those of the best on the validation images, and predictions are its own.
            Null for one classifier. Needs batch_norm false.
        cached_features: run the backbone once over all images, without augmentation, and train on what it gave: minutes
            instead of hours, and not the paper's protocol.
    """

    head_init_std: float
    pooling: Literal["class", "mean", "class_mean"] = "class"
    batch_norm: bool = True
    lr_factors: list[float] | None = None
    cached_features: bool = False

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.head_init_std", self.head_init_std, "(0, inf)")
        check_numbers("model.lr_factors", self.lr_factors, "(0, inf)", None if self.lr_factors else 1)
        if self.lr_factors and len(set(self.lr_factors)) < len(self.lr_factors):
            raise UserError(f"model.lr_factors: got {self.lr_factors}, expected each factor once")
        if self.lr_factors and self.batch_norm:
            raise UserError(
                "got model.lr_factors with model.batch_norm true, expected false: they share the features; "
                "add --model.batch_norm false"
            )


class Model(Classifier):
    """A frozen ViT, perhaps BatchNorm without weights, and a linear classifier, which alone is trained."""

    local_batch_norm = True  # as published: facebookresearch/mae main_linprobe.py @ efb2a80

    def __init__(self, spec: DataSpec, settings: Settings) -> None:
        """Builds the probe and freezes the backbone."""
        norm = settings.pooling != "mean"
        super().__init__(spec, settings, final_norm=norm)
        if not norm:
            self.expect_unused = (*Classifier.expect_unused, "norm.*")
        self.pooling = "class" if norm else "mean"
        self.takes_both = settings.pooling == "class_mean"
        self.cached_features = settings.cached_features
        self.width = self.backbone.embed_dim * (2 if self.takes_both else 1)
        std, batch_norm = settings.head_init_std, settings.batch_norm
        classes, self.lr_factors = len(spec.class_names), settings.lr_factors
        self.head: ProbeHead | SideBySide = ProbeHead(self.width, classes, init_std=std, batch_norm=batch_norm)
        if settings.lr_factors:
            self.head = SideBySide(self.width, classes, init_std=std, lr_factors=settings.lr_factors)
            self.kept_metrics = (CHOSEN,)
        self.backbone.requires_grad_(False)

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W], normalised, to the features [B, D or 2 D] that are classified, without a graph."""
        if self.takes_both:
            tokens = self.backbone(images).tokens
            return torch.cat([self.backbone.pool(tokens, "class"), self.backbone.pool(tokens, "mean")], dim=1)
        features = super().pooled(images)
        if self.pooling == "class":
            return features
        return F.layer_norm(
            features, features.shape[1:], eps=1e-6
        )  # main_linprobe.py's fc_norm, which is never trained

    def example_batch(self, count: int) -> ImageBatch:
        """Returns `count` black images of the first class, or features of them where these are cached."""
        batch = super().example_batch(count)
        return batch._replace(image=torch.zeros(count, self.width)) if self.cached_features else batch

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W], or features [B, D or 2 D] that `pooled` gave before, to logits [B, C]."""
        features = images if images.ndim == 2 else self.pooled(images)
        if isinstance(self.head, SideBySide):
            best: Tensor = self.head.classifiers[int(self.measured.get(CHOSEN, 0))](features)
            return best
        logits: Tensor = self.head(features)
        return logits

    def every(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W], or features [B, D or 2 D], to the logits of all N classifiers, [N, B, C]."""
        logits: Tensor = self.head(images if images.ndim == 2 else self.pooled(images))
        return logits

    def training_losses(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Cross entropy in fp32; of several classifiers the sum, each of which learns as it would alone."""
        if isinstance(self.head, SideBySide):
            each = [self.cross_entropy(logits, batch.label) for logits in self.every(batch.image)]
            return {"loss": torch.stack(each).sum()}
        return {"loss": self.cross_entropy(self(batch.image), batch.label)}

    def new_metrics(self) -> Any:
        """As of every classifier; of several those of the best, and which one that is."""
        if not self.lr_factors:
            return super().new_metrics()
        return SideBySideMetrics([super(Model, self).new_metrics() for _ in self.lr_factors], self.monitor)

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """As of every classifier; of several the best, whose metrics are then measured as if it were all of them."""
        found = super().exportable(input)
        if not self.lr_factors:
            return found
        count = len(self.lr_factors)

        def every(runs: Runs) -> Any:
            return method_replaced(self, "every", lambda images: runs(images)["logits"].expand(count, -1, -1))

        return replace(found, evaluated_with=every)

    def update_metrics(self, metrics: ClassificationMetrics | SideBySideMetrics, batch: ImageBatch) -> None:
        """Adds one evaluated batch."""
        several = isinstance(metrics, SideBySideMetrics)
        metrics.update(self.every(batch.image) if several else self(batch.image), batch.label, batch.index)

    def results(self, metrics: ClassificationMetrics | SideBySideMetrics) -> dict[str, object]:
        """As of every classifier; of several those of the best."""
        return super().results(metrics.of_best if isinstance(metrics, SideBySideMetrics) else metrics)

    def training_data(self, data: TransferData, device: torch.device) -> RunData:
        """The images, or their features where they are to be cached."""
        super().training_data(data, device)
        if not self.cached_features:
            return data
        return cache_features(self.backbone, self.pooled, data, device, width=self.width)
