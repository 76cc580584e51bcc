"""A fine-tuned classifier that is measured on the robustness data sets, and never trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from maekit.base.checkpoint_card import KEY
from maekit.base.model import TransferModel
from maekit.base.settings import BackboneSettings
from maekit.base.spec import DataSpec
from maekit.classification.linear_head import LinearHead
from maekit.classification.model import Classifier
from maekit.errors import UserError
from maekit.robustness.data.batch import RobustnessBatch
from maekit.robustness.data.read import RobustnessSpec
from maekit.robustness.data.sets import imagenet_synsets, title
from maekit.robustness.metrics import RobustnessMetrics
from maekit.robustness.table import robustness_json, robustness_table
from maekit.weights.chosen import split_key
from maekit.weights.get.find import find_weights
from maekit.weights.load.load import Report, read_state

RESULTS = "robustness.json"


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings(BackboneSettings):
    """A fine-tuned classifier that is measured.

    Args:
        backbone: the ViT's size by name, such as vit_base_patch16.
        weights: the fine-tuned classifier: a run's best.ckpt, whose classes are known, or any file of ImageNet-1K's
            1,000 classes in their usual order, a transformers folder, hf:OWNER/NAME, or a published file's name such as
            mae_finetuned_vit_base; the word `none` for random weights.
        pooling: what the classifier was fine-tuned with: `mean` of the patch tokens, or the `class` token.
    """

    backbone: str
    weights: str | None = None
    pooling: Literal["mean", "class"]


class RobustnessClassifier(Classifier):
    """A ViT and a linear classifier with the classes of its weights, of which the data may have some.

    A batch's labels are the data's own; the class's id brings each to the model's.
    """

    evaluates_only: ClassVar[bool] = True
    monitor: tuple[str, Literal["max", "min"]] = ("c_mce_alexnet", "min")
    headline: ClassVar[tuple[str, ...]] = (
        "a_top1",
        "r_top1",
        "sketch_top1",
        "c_mean_error",
        "c_mce_alexnet",
        "c_partial_mean_error",
    )
    to_model: Tensor

    def __init__(self, spec: RobustnessSpec, settings: RobustnessSettings) -> None:
        """Builds the classifier; `spec` is what the data hold."""
        weights, pooling = settings.weights, settings.pooling
        own = model_spec(spec, weights)
        super().__init__(own, settings, final_norm=pooling == "class")
        self.pooling = pooling
        self.head = LinearHead(self.backbone.embed_dim, len(own.ids()), pooling=pooling, init_std=0.02)
        self.expect_unused = (*TransferModel.expect_unused, *(("norm.*",) if pooling == "mean" else ()))
        self.register_buffer("to_model", torch.tensor(class_places(own, spec, weights)), persistent=False)
        self.candidates = {name: own_places(own, title(name), ids) for name, ids in spec.candidates.items()}

    def training_losses(self, batch: Any) -> dict[str, Tensor]:
        """Raises a UserError: the task is measured and never trained."""
        raise UserError("this task evaluates only; use maekit validate")

    def new_metrics(self) -> RobustnessMetrics:  # type: ignore[override]
        """Returns metrics: the top-1 of each data set, and the error of each corruption and severity."""
        return RobustnessMetrics(len(self.spec.ids()), self.candidates)

    def update_metrics(self, metrics: RobustnessMetrics, batch: RobustnessBatch) -> None:  # type: ignore[override]
        """Classifies images [B, 3, H, W], and counts which are right, by data set or corruption and severity."""
        metrics.update(self(batch.image), self.to_model[batch.label], batch.cell, batch.index)

    def table(self, metrics: RobustnessMetrics) -> list[str]:
        """Returns a row for each data set and each corruption, and what was not evaluated."""
        return robustness_table(metrics.counts(), self._num_candidates(), len(self.spec.ids()))

    def results(self, metrics: RobustnessMetrics) -> dict[str, object]:  # type: ignore[override]
        """Returns `robustness.json`: all numbers by data set, corruption and severity."""
        return {RESULTS: robustness_json(metrics.counts(), self._num_candidates(), len(self.spec.ids()))}

    def image_records(self, metrics: RobustnessMetrics) -> None:  # type: ignore[override]
        """Keeps nothing of single images: those of several data sets and corruptions share no metric."""

    def load_start(self, *, complete: bool) -> Report | None:
        """Loads the weights, and never makes a new head.

        Raises:
            UserError: as TransferModel's; or a file without class names has not ImageNet-1K's 1,000 classes.
        """
        try:
            return super().load_start(complete=True)
        except UserError:
            found, expected = _head_classes(self.weights), len(self.spec.ids())
            if found in (None, expected):
                raise
            raise UserError(
                f"{self.weights}: got a head of {found:,} classes, expected ImageNet-1K's {expected:,}; give weights "
                "fine-tuned on ImageNet-1K, or the best.ckpt of a run, which holds its classes"
            ) from None

    def _num_candidates(self) -> dict[str, int]:
        return {name: len(places) for name, places in self.candidates.items()}


def model_spec(data: RobustnessSpec, weights: str | None) -> DataSpec:
    """Returns the model's classes: as its checkpoint says, else ImageNet-1K's; without weights what the data need.

    Args:
        data: what the data hold.
        weights: as `--model.weights` was given.
    """
    needed = sorted(set(data.ids()).union(*data.candidates.values()))
    if weights in (None, "none") and not set(needed) <= set(imagenet_synsets()):
        return DataSpec(tuple(needed), data.image_size, tuple(needed))
    card = _card(weights)
    if isinstance(card, Mapping) and card.get("class_ids"):
        return DataSpec(tuple(card["class_names"]), data.image_size, tuple(card["class_ids"]))
    return DataSpec(imagenet_synsets(), data.image_size, imagenet_synsets())


def _card(weights: str | None) -> object:
    """Returns the card of a checkpoint of a run; None for other files, and for those that must be downloaded first."""
    path = Path(split_key(str(weights))[0]).expanduser()
    try:
        there = weights is not None and path.exists()
    except OSError:  # too long for a path: loading it will say so
        there = False
    return read_state(find_weights(str(weights))).meta.get(KEY) if there else None


def class_places(model: DataSpec, data: RobustnessSpec, weights: str | None) -> list[int]:
    """Returns the model's index of each of the data's classes.

    Raises:
        UserError: with a class folder that is no class of the model.
    """
    places = {ident: place for place, ident in enumerate(model.ids())}
    for ident, folder in zip(data.ids(), data.folders or data.ids(), strict=True):
        if ident not in places:
            ids = model.ids()
            whose = f"the {len(ids):,} classes of {weights} ('{ids[0]}', ...)"
            if ids == imagenet_synsets():
                whose = f"ImageNet-1K's 1,000 classes, which {weights} is taken to have"
            raise UserError(
                f"{folder}: '{ident}' is none of {whose}; remove the folder, or give weights of a model that has it"
            )
    return [places[ident] for ident in data.ids()]


def own_places(model: DataSpec, name: str, ids: Sequence[str]) -> list[int]:
    """Returns the model's indices of a data set's own classes.

    Raises:
        UserError: the model lacks one.
    """
    places = {ident: place for place, ident in enumerate(model.ids())}
    lacking = [ident for ident in ids if ident not in places]
    if lacking:
        raise UserError(
            f"the model lacks class '{lacking[0]}' of the {len(ids)} among which {name} is measured ({len(lacking)} in "
            f"all); give weights of a model that has them, or leave {name} out"
        )
    return [places[ident] for ident in ids]


def _head_classes(weights: str | None) -> int | None:
    """Returns the classes of a file's head, if it has one."""
    if weights in (None, "none"):
        return None
    head = read_state(find_weights(str(weights))).tensors.get("head.weight")
    return None if head is None else len(head)
