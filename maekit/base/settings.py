"""The settings a recipe's `model:` section fills: frozen dataclasses, whose fields are the flags `--model.*`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from maekit.errors import UserError
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """What every model has.

    Args:
        backbone: the ViT by name, such as vit_base_patch16; that of the weights where they are of another than the
            recipe's.
        weights: what to start from: a file, a transformers folder, hf:OWNER/NAME, a published file's name such as
            mae_vit_huge, which is downloaded, or the word `none` for random weights; required. Of several sets of
            weights in a file FILE#KEY means one, such as run.pth#model_ema.
    """

    of_depth: ClassVar[tuple[str, ...]] = ()  # lists of blocks, which a ViT of another depth makes wrong
    backbone: str
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedSettings(BackboneSettings):
    """What every model that is trained has.

    Args:
        new_head: start with fresh layers for the classes, which are others than the file's: a classifier's whole
            head, of a detector the layers that name classes and what has numbers for each of them.
        ema_decay: average the weights, exponentially with this decay a step, in [0, 1), and validate, keep and predict
            with the average; null for none.
        new_bands: patch filters of bands that the file lacks: the mean of the file's; repeat, the file's in turn, so
            divided that their sum over channels stays; or fresh. One band alone is grey: the sum of the file's.
    """

    new_head: bool = False
    ema_decay: float | None = None
    new_bands: Literal["mean", "repeat", "fresh"] = "mean"

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name; a subclass that checks more calls this first."""
        check_range("model.ema_decay", self.ema_decay, "[0, 1)")


@dataclass(frozen=True, kw_only=True)
class AdaptedSettings(TrainedSettings):
    """What every model has of whose backbone more or less can be trained.

    Args:
        tuned_blocks: train only so many of the backbone's last blocks, and the head; 0 is the head alone, 0.5 the MLP
            of the last block, and all blocks is full fine-tuning, embeddings included; null for no limit.
        freeze: what else stays as it is: the whole `backbone`, as with tuned_blocks 0, or its `embeddings` (patch
            filters, positions, class token); null for nothing.
        lora_rank: freeze the backbone, and train beside each linear layer of its blocks an update of this rank (LoRA,
            arXiv 2106.09685), from 1 to the backbone's width, and what the task adds to the ViT (relative
            positions, LayerScale); null for none.
        lora_alpha: the update is scaled by lora_alpha / lora_rank, above 0; null for lora_rank, a scale of 1.
        lora_targets: layers with such an update, as qkv,proj: of qkv, proj, fc1 and fc2; null for all four.
        lora_dropout: of what the update is computed from, in [0, 1).
    """

    tuned_blocks: float | None = None
    freeze: Literal["backbone", "embeddings"] | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_targets: str | list[str] | None = None
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuses values outside their range and contradictions, with the flag's name."""
        super().__post_init__()
        check_range("model.lora_rank", self.lora_rank, "[1, inf)")
        check_range("model.lora_alpha", self.lora_alpha, "(0, inf)")
        check_range("model.lora_dropout", self.lora_dropout, "[0, 1)")
        tuned = None if self.tuned_blocks is None else f"{self.tuned_blocks:g}"
        if self.freeze == "backbone" and tuned is not None:
            raise _one_of("model.tuned_blocks", tuned, "model.freeze", "backbone")
        if self.lora_rank is None:
            self._check_no_lora()
            return
        for name, value in (("tuned_blocks", tuned), ("freeze", self.freeze)):
            if value is not None:
                why = ", but LoRA freezes the backbone itself"
                raise _one_of("model.lora_rank", self.lora_rank, f"model.{name}", value, why)

    def _check_no_lora(self) -> None:
        values = {"alpha": self.lora_alpha, "targets": self.lora_targets, "dropout": self.lora_dropout or None}
        for name, value in values.items():
            if value is not None:
                raise UserError(
                    f"got model.lora_{name} {value} without model.lora_rank, expected both; add --model.lora_rank 8, "
                    f"or leave model.lora_{name} out"
                )


def _one_of(key: str, value: object, other: str, its: object, why: str = "") -> UserError:
    return UserError(f"got {key} {value} with {other} {its}{why}, expected one of the two; add --{other} null")


@dataclass(frozen=True, kw_only=True)
class TunedSettings(AdaptedSettings):
    """What every model has whose backbone is trained.

    Args:
        drop_path: stochastic depth of the last block, in [0, 1); linear from 0 at the first.
        gradient_checkpointing: recompute each block in the backward pass: less memory, about a third more time.
    """

    drop_path: float
    gradient_checkpointing: bool = False
