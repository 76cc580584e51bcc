"""Classifiers on the shared backbone: what every classification task has, and fine-tuning with mixup and cutmix."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.backbone.protocol import Pooling
from maekit.backbone.vit import ViTOptions
from maekit.base.data import RunData, TransferData
from maekit.base.exportable import Exportable
from maekit.base.model import TransferModel
from maekit.base.settings import BackboneSettings, TrainedSettings
from maekit.base.spec import DataSpec
from maekit.classification.chosen_metrics import (
    DEFAULT,
    ChosenMetrics,
    metric_names,
    monitored_metric,
    reliability_json,
)
from maekit.classification.class_weights import class_weights, said_weights, weighted_cross_entropy
from maekit.classification.exportable import class_exportable
from maekit.classification.metrics import ClassificationMetrics, class_json, confusion_json
from maekit.classification.mix_settings import MixSettings
from maekit.classification.pooled import PooledModel
from maekit.classification.records import ClassRecords
from maekit.classification.shown import ShownClasses
from maekit.data.images.batch import ImageBatch, blank_images
from maekit.errors import UserError
from maekit.system.light_imports import import_alone
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(TrainedSettings):
    """What every classifier of one class an image has.

    Args:
        class_weights: what the classes count in the training loss: `none`, all the same; `auto`, each class as much as
            any other however few images it has; or a CSV, JSON or YAML file of class names and weights. Their mean over
            the training images is made 1.
        metrics: what is measured beside the loss, as top1,balanced_accuracy: of top1, top5, balanced_accuracy (mean
            recall of the classes), macro_f1, auroc, kappa (quadratic, of classes whose labels have an order) and
            calibration_error (15 bins); null for top1 and top5.
        monitor: of these or loss, what chooses best.ckpt and what --run.patience waits for; null for the first.
    """

    class_weights: str = "none"
    metrics: str | list[str] | None = None
    monitor: str | None = None

    def __post_init__(self) -> None:
        """Refuses metrics that do not exist or are not measured, with the flag's name."""
        super().__post_init__()
        monitored_metric(self.monitor, metric_names(self.metrics))


@dataclass(frozen=True, kw_only=True)
class FineTuningSettings(ClassifierSettings, MixSettings):
    """A fine-tuned classifier.

    Args:
        pooling: `mean` averages the patch tokens and norms them; `class` takes the class token.
        head_init_std: standard deviation of the classifier's initial weights.
    """

    pooling: Pooling
    head_init_std: float

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.head_init_std", self.head_init_std, "(0, inf)")


class Classifier(PooledModel):
    """ViT and a head that gives one score a class: metrics and predictions. A subclass builds the head and the loss."""

    monitor: tuple[str, Literal["max", "min"]] = ("top1", "max")
    metric_names: tuple[str, ...] = DEFAULT
    weighting: str = "none"
    class_weights: Tensor | None

    def __init__(self, spec: DataSpec, settings: BackboneSettings, **options: Unpack[ViTOptions]) -> None:
        """Builds the backbone with `options`, see ViT, and chooses the metrics."""
        super().__init__(spec, settings, **options)
        self.register_buffer("class_weights", None, persistent=False)
        if isinstance(settings, ClassifierSettings):
            self.weighting = settings.class_weights
        if len(spec.class_names) <= 5:  # of so few top-5 is always 100
            self.metric_names = ("top1",)
        if isinstance(settings, ClassifierSettings) and (settings.metrics, settings.monitor) != (None, None):
            self.metric_names = self.metric_names if settings.metrics is None else metric_names(settings.metrics)
            self.monitor = monitored_metric(settings.monitor, self.metric_names)

    def cross_entropy(self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross entropy in fp32, of weighted classes where the settings ask for it.

        Args:
            logits: [B, C].
            target: int64 classes [B]; or shares of the classes [B, C], smoothed already.
            label_smoothing: share of the target spread over all classes, in [0, 1).
        """
        logits = logits.float()
        if self.weighting != "none":
            if self.class_weights is None:  # without a run, as in a replay
                self.class_weights = class_weights(self.weighting, self.spec).values.to(logits.device)
            return weighted_cross_entropy(logits, target, self.class_weights, label_smoothing)
        smoothing = label_smoothing if target.ndim == 1 else 0.0
        return F.cross_entropy(logits, target, label_smoothing=smoothing)

    def training_data(self, data: TransferData, device: torch.device) -> RunData:
        """Returns the data; weights of the classes are read, and said.

        Raises:
            UserError: their file does not fit the data, or nobody knows how many images each class has.
        """
        if self.weighting != "none":
            self.class_weights = said_weights(class_weights, self.weighting, data, self.spec)
        return data

    def example_batch(self, count: int) -> ImageBatch:
        """Returns `count` black images of the first class."""
        return blank_images(count, self.spec.image_size, self.spec.num_channels)

    def new_metrics(self) -> ClassificationMetrics:
        """Returns metrics: top-1 and top-5 in percent, or those that the settings name, and the loss in nats."""
        return ClassificationMetrics() if self.metric_names == DEFAULT else ChosenMetrics(self.metric_names)

    def update_metrics(self, metrics: ClassificationMetrics, batch: ImageBatch) -> None:
        """Adds one evaluated batch."""
        metrics.update(self(batch.image), batch.label, batch.index)

    def results(self, metrics: ClassificationMetrics) -> dict[str, object]:
        """Returns `confusion.json`, `per_class.json`, the top-1 of each class, and perhaps `reliability.json`."""
        names, outcomes = self.spec.class_names, metrics.outcome_counts()
        more: dict[str, object] = {}
        if isinstance(metrics, ChosenMetrics) and "calibration_error" in metrics.names:
            more = {"reliability.json": reliability_json(metrics.reliability())}
        return {
            "confusion.json": confusion_json(names, outcomes),
            "per_class.json": class_json(names, outcomes),
            **more,
        }

    def image_records(self, metrics: ClassificationMetrics) -> ClassRecords:
        """Returns class and predicted class of each image, and how sure the model was."""
        return metrics.image_records().named(self.spec.class_names)

    @torch.inference_mode()
    def class_probabilities(self, images: Tensor) -> Tensor:
        """Returns probabilities [B, C] in fp32 of images [B, 3, H, W], normalised."""
        logits: Tensor = self(images)
        return logits.float().softmax(-1)

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """Returns logits and probabilities, see `class_exportable`."""
        return class_exportable(self, input)

    def shown(self) -> ShownClasses:
        """Returns the losses of images, the images, and a CSV with the best classes of each."""
        return ShownClasses(self)


class MixedBatch(NamedTuple):
    """Images [B, 3, H, W] that mixup or cutmix mixed in pairs, and the share of each class in each, [B, C]."""

    image: Tensor
    target: Tensor


class FineTunedClassifier(Classifier):
    """A classifier that is trained with mixup, cutmix and label smoothing; a task builds its `head`."""

    def __init__(self, spec: DataSpec, settings: FineTuningSettings, **options: Unpack[ViTOptions]) -> None:
        """Builds the backbone with `options`, see ViT, and what mixes images."""
        super().__init__(spec, settings, **options)
        classes, self.pooling = len(spec.class_names), settings.pooling
        self.expect_unused = (*TransferModel.expect_unused, *(("norm.*",) if settings.pooling == "mean" else ()))
        self.label_smoothing = settings.label_smoothing
        self.mix: Any = None
        if settings.mixup > 0 or settings.cutmix > 0:
            mixer: Any = import_alone("timm.data.mixup").Mixup
            self.mix = mixer(
                settings.mixup,
                settings.cutmix,
                prob=settings.mix_probability,
                switch_prob=settings.mix_switch_probability,
                mode="batch",
                label_smoothing=settings.label_smoothing,
                num_classes=classes,
            )
        self.pairs_images = self.mix is not None

    def drawn(self, batch: ImageBatch) -> "ImageBatch | MixedBatch":
        """Returns the batch with its images mixed in pairs, where mixup or cutmix is on.

        Raises:
            UserError: the batch has an odd number of images to mix.
        """
        if self.mix is None:
            return batch
        if len(batch.image) % 2:
            raise UserError(
                f"got a batch of {len(batch.image)} images, expected an even number: mixup and cutmix pair them; "
                "set an even --data.device_batch_size, or --model.mixup 0 --model.cutmix 0"
            )
        return MixedBatch(*self.mix(batch.image.clone(), batch.label))

    def training_losses(self, batch: "ImageBatch | MixedBatch") -> dict[str, Tensor]:
        """Returns `loss`, the cross entropy in fp32 against smoothed labels [B] or mixed targets [B, C]."""
        if isinstance(batch, ImageBatch) and self.mix is not None:
            batch = self.drawn(batch)
        target = batch.target if isinstance(batch, MixedBatch) else batch.label
        return {"loss": self.cross_entropy(self(batch.image), target, self.label_smoothing)}
