"""The settings a recipe's `model:` section fills: frozen dataclasses, whose fields are the flags `--model.*`."""

from dataclasses import dataclass
from typing import Literal

from maekit.errors import UserError
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """What every model has.

    Args:
        backbone: the ViT's size by name, such as vit_base_patch16.
        weights: what to start from: a file, a transformers folder, hf:OWNER/NAME, a published file's name such as
            mae_vit_huge, which is downloaded, or the word `none` for random weights; required. Of several sets of
            weights in a file FILE#KEY means one, such as run.pth#model_ema.
    """

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
    """

    new_head: bool = False
    ema_decay: float | None = None

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
            arXiv 2106.09685), from 1 to the backbone's width, and what the task adds to a plain ViT (relative
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
        if self.freeze == "backbone" and self.tuned_blocks is not None:
            self._refuse(f"model.tuned_blocks {self.tuned_blocks:g} with model.freeze backbone", "model.freeze")
        if self.lora_rank is not None and self.tuned_blocks is not None:
            self._refuse(
                f"model.lora_rank {self.lora_rank} with model.tuned_blocks {self.tuned_blocks:g}, but LoRA "
                "freezes all that the file has of the backbone",
                "model.tuned_blocks",
            )
        if self.lora_rank is not None and self.freeze is not None:
            self._refuse(
                f"model.lora_rank {self.lora_rank} with model.freeze {self.freeze}, but LoRA freezes the "
                "backbone itself, and trains what it adds to it",
                "model.freeze",
            )
        unused = {
            "alpha": self.lora_alpha is not None,
            "targets": self.lora_targets is not None,
            "dropout": self.lora_dropout != 0,
        }
        for name in (name for name, given in unused.items() if given and self.lora_rank is None):
            raise UserError(
                f"got model.lora_{name} {getattr(self, f'lora_{name}')} without model.lora_rank, expected both; add "
                f"--model.lora_rank 8, or leave model.lora_{name} out"
            )

    def _refuse(self, both: str, first: str) -> None:
        raise UserError(f"got {both}, expected one of the two; add --{first} null for the other")


@dataclass(frozen=True, kw_only=True)
class TunedSettings(AdaptedSettings):
    """What every model has whose backbone is trained.

    Args:
        drop_path: stochastic depth of the last block, in [0, 1); linear from 0 at the first.
        gradient_checkpointing: recompute each block in the backward pass: less memory, about a third more time.
    """

    drop_path: float
    gradient_checkpointing: bool = False
