"""The settings a recipe's `model:` section fills: frozen dataclasses, whose fields are the flags `--model.*`."""

from dataclasses import dataclass

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
class TunedSettings(TrainedSettings):
    """What every model has whose backbone is trained.

    Args:
        drop_path: stochastic depth of the last block, in [0, 1); linear from 0 at the first.
        gradient_checkpointing: recompute each block in the backward pass: less memory, about a third more time.
    """

    drop_path: float
    gradient_checkpointing: bool = False
