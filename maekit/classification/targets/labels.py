"""A model of several labels an image: one probability a label, and a threshold from which a label is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from maekit.base.data import RunData, TransferData
from maekit.base.exportable import Exportable
from maekit.base.spec import DataSpec
from maekit.classification.class_weights import positive_weights, said_weights
from maekit.classification.mix_settings import MixSettings
from maekit.classification.targets.exportable import label_exportable
from maekit.classification.targets.label_results import labels_json, per_label_json
from maekit.classification.targets.losses import asymmetric_loss, binary_loss
from maekit.classification.targets.metrics import LabelMetrics, label_scores
from maekit.classification.targets.mix import MixedBatch, PairMix
from maekit.classification.targets.model import TargetModel, TargetSettings
from maekit.classification.targets.records import LabelRecords
from maekit.classification.targets.shown_labels import ShownLabels
from maekit.data.images.batch import ImageBatch
from maekit.errors import UserError
from maekit.system.ranges import check_range

UNTUNED = 0.5


@dataclass(frozen=True, kw_only=True)
class LabelSettings(TargetSettings, MixSettings):
    """A fine-tuned model of several labels an image.

    Args:
        label_loss: `bce`, binary cross entropy, or `asymmetric` (arXiv 2009.14119), for many labels of which an image
            has few; that takes neither label smoothing nor mixup nor cutmix.
        threshold: probability from which a label is given, above 0 and below 1; null: the one with the best macro F1
            on half of the validation images, of which F1 is not reported.
        class_weights: what the images that have a label count in the loss, beside 1 for those that have not: `none`, 1;
            `auto`, as much in all as those that have not; or a CSV, JSON or YAML file of labels and weights; bce alone.
    """

    label_loss: Literal["bce", "asymmetric"]
    threshold: float | None = None
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Refuses values outside their range and contradictions, with the flag's name."""
        super().__post_init__()
        check_range("model.threshold", self.threshold, "(0, 1)")
        if self.label_loss == "asymmetric" and self.class_weights != "none":
            raise UserError(
                f"got model.class_weights {self.class_weights} with model.label_loss asymmetric, which has weights of "
                "its own, expected none; add --model.class_weights none, or --model.label_loss bce"
            )
        for name in ("label_smoothing", "mixup", "cutmix") if self.label_loss == "asymmetric" else ():
            if value := getattr(self, name):
                raise UserError(
                    f"got model.{name} {value} with model.label_loss asymmetric, whose targets are 0 or 1, expected 0; "
                    f"add --model.{name} 0, or --model.label_loss bce"
                )


class LabelModel(TargetModel):
    """A ViT and a linear head with one logit a label; a task builds its `head`."""

    monitor: tuple[str, Literal["max", "min"]] = ("map", "max")
    monitors: ClassVar[Mapping[str, Literal["max", "min"]]] = {
        "map": "max",
        "auroc": "max",
        "f1_macro": "max",
        "f1_micro": "max",
    }
    headline: ClassVar[tuple[str, ...]] = ("map", "f1_macro", "auroc")
    kept_metrics: tuple[str, ...] = ("threshold",)
    positive_weights: Tensor | None

    def __init__(self, spec: DataSpec, settings: LabelSettings) -> None:
        """Builds the backbone, and what mixes images."""
        super().__init__(spec, settings)
        self.label_loss, self.label_smoothing, self.threshold = (
            settings.label_loss,
            settings.label_smoothing,
            settings.threshold,
        )
        self.weighting = settings.class_weights
        self.register_buffer("positive_weights", None, persistent=False)
        self.mix = PairMix(settings.mixup, settings.cutmix, settings.mix_probability, settings.mix_switch_probability)

    def drawn(self, batch: ImageBatch) -> "ImageBatch | MixedBatch":
        """Returns the batch with its images and labels mixed in pairs, where mixup or cutmix is on."""
        return self.mix(batch.image, batch.label.float()) if self.mix.is_on else batch

    def training_losses(self, batch: "ImageBatch | MixedBatch") -> dict[str, Tensor]:
        """Returns `loss`, the mean over images and labels in fp32, of labels [B, L] or mixed targets [B, L]."""
        if isinstance(batch, ImageBatch) and self.mix.is_on:
            batch = self.drawn(batch)
        target = batch.target if isinstance(batch, MixedBatch) else batch.label
        logits = self(batch.image)
        if self.label_loss == "asymmetric":
            return {"loss": asymmetric_loss(logits, target)}
        if self.weighting != "none" and self.positive_weights is None:  # without a run, as in a replay
            self.positive_weights = positive_weights(self.weighting, self.spec).values.to(logits.device)
        return {"loss": binary_loss(logits, target, self.label_smoothing, self.positive_weights)}

    def training_data(self, data: TransferData, device: torch.device) -> RunData:
        """Returns the data; weights of the labels are read, and said.

        Raises:
            UserError: their file does not fit the data.
        """
        if self.weighting != "none":
            self.positive_weights = said_weights(positive_weights, self.weighting, data, self.spec)
        return data

    def new_metrics(self) -> LabelMetrics:
        """Returns metrics: mAP, AUROC and F1, in 0..1, and the threshold."""
        return LabelMetrics(self.threshold)

    def update_metrics(self, metrics: LabelMetrics, batch: ImageBatch) -> None:
        """Adds one evaluated batch."""
        metrics.update(self(batch.image).float().sigmoid(), batch.label, batch.index)

    def results(self, metrics: LabelMetrics) -> dict[str, object]:
        """Returns `labels.json` and `per_class.json`: average precision, F1 and more of each label."""
        predicted, truth, _ = metrics.of_all()
        scores = label_scores(predicted, truth, self.threshold)
        labels = labels_json(self.spec.class_names, predicted, truth, scores)
        return {"labels.json": labels, "per_class.json": per_label_json(labels)}

    def image_records(self, metrics: LabelMetrics) -> LabelRecords:
        """Returns the labels of each image, and their probabilities."""
        joined = metrics.of_all()
        scores = label_scores(joined.predicted, joined.truth, self.threshold)
        return LabelRecords(joined, self.spec.class_names, scores)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Returns probabilities [B, L] in fp32 of images [B, C, H, W], normalised."""
        logits: Tensor = self(images)
        return logits.float().sigmoid()

    def threshold_in_use(self) -> float:
        """Returns the probability from which a label is given: the setting's, the tuned one, or 0.5 before it is."""
        measured: Mapping[str, float] = self.measured
        return self.threshold or measured.get("threshold", UNTUNED)

    def threshold_origin(self) -> str:
        """Returns in words why that is the threshold."""
        if self.threshold is not None:
            return "the run's --model.threshold"
        return "tuned on its validation images" if "threshold" in self.measured else "no validation has tuned it yet"

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """Returns logits and probabilities of the labels."""
        return label_exportable(self, self, input)

    def shown(self) -> ShownLabels:
        """Returns the losses of images, the images, and a CSV with the labels of each."""
        return ShownLabels(self)
