"""The trained network of a task, without Lightning: backbone, head, loss, metrics."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, Unpack

import torch
from torch import Tensor, nn

from maekit.backbone.block import Block
from maekit.backbone.freeze import add_lora, freeze_embeddings, tune_last_blocks
from maekit.backbone.lora import target_names
from maekit.backbone.protocol import Pooling
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT, ViTOptions
from maekit.base.checkpoint_card import measured_in
from maekit.base.data import RunData, TransferData
from maekit.base.evaluation.image_records import ImageRecords
from maekit.base.exportable import Exportable
from maekit.base.settings import AdaptedSettings, BackboneSettings, TrainedSettings
from maekit.base.shown import Shown
from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.recipes.model_settings import make_settings, settings_class
from maekit.weights.get.find import find_weights
from maekit.weights.load.bands import Bands, NewBands
from maekit.weights.load.classes import Classes
from maekit.weights.load.head_target import HeadTarget
from maekit.weights.load.load import Report, load_weights, read_state
from maekit.weights.read.safe_load import load_file
from maekit.weights.state.start import completed


class Metrics(Protocol):
    """What evaluates a task: filled batch by batch, exact under any split of the data over ranks."""

    def compute(self) -> dict[str, Tensor]:
        """Returns scalars by name, over all batches of all ranks since the last reset; every rank must call it."""

    def reset(self) -> None:
        """Starts anew, with no batch."""


class TransferModel(nn.Module, ABC):
    """A shared ViT backbone to which a task adds a head, a loss and a metric.

    A subclass builds `self.head` in its constructor, which takes the data's spec and a dataclass of settings, whose
    fields become the flags `--model.*`, and implements the abstract methods. `TransferModule` trains it; it needs no
    Lightning itself, and knows of no learning rate.

    Attributes:
        monitor: the metric by which the best checkpoint is chosen, and whether more or less is better.
        headline: the metrics that a line of text shows, such as a run's progress; all of them where this is empty.
        expect_new: patterns of this model's parameters that a pre-trained file need not have.
        expect_unused: patterns of a file's tensors that this model need not use.
        expect_resized: patterns of parameters that may be resized to the model's image size.
        class_layers: patterns of what a file's head has for its own classes, and a fresh head does not take from it.
        renewed_with_head: patterns of what else may be missing from the file where the head is fresh (`new_head`).
        least_images: the smallest device batch that can be trained on; 2 where BatchNorm measures single pixels.
        pairs_images: whether the loss mixes images in pairs, and so needs an even device batch.
        evaluates_only: whether there is nothing to train: `fit` refuses, `validate` measures the weights.
        on_host: fields of a batch that stay on the CPU, since the model reads them: reading them from a device waits.
        local_batch_norm: whether BatchNorm measures each device's own batch, by the recipe, and is never synchronised.
        compiled: what of it `compile_losses` compiles, in words.
        kept_metrics: names of metrics that predictions need, such as a tuned threshold: checkpoints carry them.
        measured: the values of these metrics in the newest validation, or as the loaded checkpoint has them.
        pretraining: how the weights that it started from were trained, such as `moco_v3`; empty where that is unknown.
        ema_decay: decay a step of the weights' moving average, which is then what is evaluated and kept; None for none.
    """

    monitor: tuple[str, Literal["max", "min"]]
    headline: ClassVar[tuple[str, ...]] = ()
    expect_new: tuple[str, ...] = ("head.*",)
    expect_unused: tuple[str, ...] = ("decoder*", "mask_token")
    expect_resized: tuple[str, ...] = ("pos_embed", "*.attn.position.table")
    class_layers: tuple[str, ...] = ("head.*",)
    renewed_with_head: tuple[str, ...] = ()
    least_images: int = 1
    pairs_images: bool = False
    evaluates_only: ClassVar[bool] = False
    on_host: ClassVar[tuple[str, ...]] = ()
    local_batch_norm: bool = False
    kept_metrics: tuple[str, ...] = ()
    measured: Mapping[str, float] = {}
    pretraining: str = ""
    ema_decay: float | None = None
    compiled: ClassVar[str] = "the training losses"
    head: nn.Module

    def __init__(self, spec: DataSpec, settings: BackboneSettings, **options: Unpack[ViTOptions]) -> None:
        """Builds the backbone.

        Args:
            spec: class names and image size of the data.
            settings: the values of the recipe's section `model`; a subclass takes a dataclass of its own.
            options: what else the task changes about the ViT.
        """
        super().__init__()
        self.spec = spec
        self.weights = settings.weights
        trained = settings if isinstance(settings, TrainedSettings) else None
        self.new_head = trained is not None and trained.new_head
        self.ema_decay = None if trained is None else trained.ema_decay
        self.new_bands: NewBands = "mean" if trained is None else trained.new_bands
        self.backbone = ViT(
            load_size(settings.backbone), image_size=spec.image_size, channels=spec.num_channels, **options
        )
        if isinstance(settings, AdaptedSettings):
            _adapt(self.backbone, settings)

    @classmethod
    def build(cls, spec: DataSpec, values: Mapping[str, object]) -> Self:
        """Makes a model from the plain values of a recipe's section `model`."""
        return cls(spec, make_settings(settings_class(cls), values))

    @abstractmethod
    def training_losses(self, batch: Any) -> dict[str, Tensor]:
        """Returns the loss terms of one batch by name; `loss` is their sum, which is minimised."""

    def drawn(self, batch: Any) -> Any:
        """Returns a training batch with what a step draws at random beside it, such as mixup's partners or masks.

        `training_losses` takes either; a compiled step is given what was drawn, so that drawing is not compiled.
        """
        return batch

    def compile_losses(self, **options: Any) -> Callable[[Any], dict[str, Tensor]]:
        """Returns `training_losses` compiled as a whole; a task whose losses differ in shape compiles parts of them.

        Args:
            options: those of torch.compile, such as `backend`.
        """
        compiled: Callable[[Any], dict[str, Tensor]] = torch.compile(self.training_losses, **options)
        return compiled

    def sharded_units(self) -> list[nn.Module]:
        """Returns the modules that fsdp2 gathers one at a time, each called once a forward pass: transformer blocks."""
        return [module for module in self.modules() if isinstance(module, Block)]

    def example_batch(self, count: int) -> Any:
        """Returns a made training batch of `count` images, the largest a step is given; `maekit plan` counts with it.

        Raises:
            UserError: the task has none.
        """
        place = f"{type(self).__module__}.{type(self).__qualname__}"
        raise UserError(
            f"got {place} without `example_batch`, expected a method (self, count) that returns a training batch of so "
            "many made images; add it to the model (maekit/base/model.py)"
        )

    def planned_losses(self, batch: Any) -> dict[str, Tensor]:
        """Returns `training_losses` of shapes that do not depend on values, on tensors that have none.

        A model overrides it whose step looks at as many things as it finds; it then takes as many as there may be.
        """
        return self.training_losses(batch)

    def evaluate_example(self, count: int) -> None:
        """Runs what an evaluation of `count` made images on a device holds at once, on tensors that have no values."""
        self(self.example_batch(count).image)

    @abstractmethod
    def new_metrics(self) -> nn.Module:
        """Returns an empty module that implements `Metrics`."""

    @abstractmethod
    def update_metrics(self, metrics: Any, batch: Any) -> None:
        """Runs the model on a batch and adds its results to the metrics; a sample of index -1 is not counted."""

    @abstractmethod
    def shown(self) -> Shown:
        """Returns what is shown of this model: scores and pictures of images, and what `maekit predict` writes."""

    def exportable(self, input: Mapping[str, Any]) -> Exportable | None:
        """Returns what `maekit export` writes of this model, loaded and in evaluation mode; None where it has none.

        Its features need no method: they are what `pooled` gives, and the patches' tokens.

        Args:
            input: the values of the data's `input_transform()`.
        """
        return None

    def pooled(self, images: Tensor) -> Tensor:
        """Returns an image's features [B, D] of images [B, C, H, W], normalised: its class token, else the mean."""
        how: Pooling = "class" if self.backbone.has_class_token else "mean"
        return self.backbone.pool(self.backbone(images).tokens, how)

    def headlines(self, values: Mapping[str, float]) -> dict[str, float]:
        """Returns those of an evaluation's values that a line of text shows."""
        return {name: values[name] for name in self.headline or values if name in values}

    def table(self, metrics: Any) -> list[str]:
        """Returns lines on the parts of computed metrics, such as each class; none unless a task has any."""
        return []

    def results(self, metrics: Any) -> dict[str, object]:
        """Returns what of an evaluation is kept as JSON files, by name, if anything; every process calls it."""
        return {}

    def image_records(self, metrics: Any) -> ImageRecords | None:
        """Returns what an evaluation found of each image, if that is kept; every process calls it."""
        return None

    def side_metrics(self, data: RunData) -> dict[str, float]:
        """Returns more of an evaluation, by name, that is not of the validation images; only the first process asks.

        It must leave the generators of random numbers as they were.
        """
        return {}

    def training_data(self, data: TransferData, device: torch.device) -> RunData:
        """What to train and validate on, once the weights are loaded: the data itself, or what it becomes on `device`.

        Called on every rank before the run is built, under its autocast, and not for a validation alone.
        """
        return data

    def load_checkpoint(self, path: Path, weights: str | None = None) -> None:
        """Loads all weights from a checkpoint of a run whose model has the same parameters.

        Args:
            path: the checkpoint.
            weights: where the weights are that complete one of only what changed; None for where it says.
        """
        contents = load_file(path)
        assert isinstance(contents, Mapping)
        state = completed(contents, path, lambda file: read_state(file).tensors, weights)["state_dict"]
        assert isinstance(state, Mapping)
        self.load_state_dict({key.removeprefix("model."): t for key, t in state.items() if key.startswith("model.")})
        self.measured = measured_in(contents)

    def load_start(self, *, complete: bool) -> Report | None:
        """Loads the weights that the flag `--model.weights` names.

        Args:
            complete: whether the head too must come from the file (to validate), or may be new (to train).

        Returns:
            Which parameters were matched, resized, new and unused; None where `--model.weights` is the word `none`.

        Raises:
            UserError: no weights were named, or the file does not fit.
        """
        if self.weights is None:
            raise UserError(
                "no weights given; add --model.weights FILE, or a name such as mae_vit_base or hf:OWNER/NAME, which is "
                "downloaded (or --model.weights none to start from scratch)"
            )
        if self.weights == "none":
            return None
        report = load_weights(
            self,
            find_weights(self.weights),
            allow_new=() if complete else (*self.expect_new, *(self.renewed_with_head if self.new_head else ())),
            allow_unused=self.expect_unused,
            allow_resized=self.expect_resized,
            leave_out=self.class_layers if self.new_head and not complete else (),
            classes=Classes(self.spec.class_names, self.spec.class_ids) if self.spec.class_names else None,
            target=HeadTarget(self.spec.target, self.spec.value_names),
            bands=Bands(self.spec.bands, self.spec.mean, self.spec.std, self.new_bands, evaluated=complete),
        )
        self.pretraining = report.pretraining
        return report


def _adapt(backbone: ViT, settings: AdaptedSettings) -> None:
    """Freezes what a recipe does not train of a fresh backbone, and adds its adapters."""
    if settings.lora_rank is not None:
        add_lora(
            backbone,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            targets=target_names(settings.lora_targets),
            dropout=settings.lora_dropout,
        )
    if settings.tuned_blocks is not None or settings.freeze == "backbone":
        tune_last_blocks(backbone, settings.tuned_blocks or 0)
    if settings.freeze == "embeddings":
        freeze_embeddings(backbone)
