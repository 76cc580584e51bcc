"""How much of a model is trained: numbers of parameters by part, frozen ones counted too."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

PARTS = ("backbone", "adapters", "head")


@dataclass(frozen=True)
class Share:
    """Numbers of parameters of a model.

    Attributes:
        trained: of the backbone, of its adapters (LoRA), and of all else, the head.
        frozen: likewise.
    """

    trained: Mapping[str, int]
    frozen: Mapping[str, int]

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.trained.values()) + sum(self.frozen.values())

    @property
    def percent(self) -> float:
        """Which part of all is trained, in percent."""
        return 100 * sum(self.trained.values()) / self.total


def share_of(model: nn.Module) -> Share:
    """Counts a model with the modules `backbone` and `head`; it may be on the meta device."""
    trained, frozen = (dict.fromkeys(PARTS, 0) for _ in range(2))
    for name, parameter in model.named_parameters():
        adapter = name.rpartition(".")[2].startswith("lora_")
        part = "adapters" if adapter else "backbone" if name.startswith("backbone.") else "head"
        (trained if parameter.requires_grad else frozen)[part] += parameter.numel()
    return Share(trained, frozen)


def describe(model: nn.Module, *, random: bool = False) -> str:
    """Returns how much of a model is trained, as `trained: 1.19 of 86.99 M parameters (1.4 %)`.

    Args:
        model: with the modules `backbone` and `head`.
        random: whether it starts from random weights, of which a warning says that some will stay so.
    """
    share = share_of(model)
    percent = f"{share.percent:.1f}" if share.percent >= 1 else f"{share.percent:.2g}"
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad and ".blocks." in name]
    warning = "; the frozen blocks are random (--model.weights none)" if random and frozen else ""
    trained = millions(sum(share.trained.values()))
    return f"trained: {trained} of {millions(share.total)} M parameters ({percent} %){warning}"


def parts(numbers: Mapping[str, int]) -> str:
    """Returns numbers of parameters by part, as `adapters 1.18 M, head 0.01 M`; `none` where there are none."""
    return ", ".join(f"{part} {millions(count)} M" for part, count in numbers.items() if count) or "none"


def millions(count: int) -> str:
    """Returns a number of parameters in millions, with as many decimals as small numbers need."""
    return f"{count / 1e6:.2f}" if count >= 100_000 or not count else f"{count / 1e6:.2g}"
