"""How the maps of convolutional heads and pyramids lie in memory: channel by channel, or channels last."""

import torch
from torch import Tensor, nn


class MapModule(nn.Module):
    """A part of a head that decides how the maps it is given, or gives, lie in memory; convolutions after it follow.

    Attributes:
        memory_format: torch.contiguous_format (channel by channel) or torch.channels_last.
    """

    memory_format: torch.memory_format = torch.contiguous_format

    def laid_out(self, image: Tensor) -> Tensor:
        """Returns a map [B, C, h, w] in that format, copied only where it has another."""
        return image.contiguous(memory_format=self.memory_format)


def use_channels_last(model: nn.Module) -> int:
    """Lets all `MapModule`s of a model lay their maps out channels last; returns how many there are.

    Parameters keep their layout, so checkpoints are the same; cuDNN brings a weight into its map's format.
    """
    parts = [module for module in model.modules() if isinstance(module, MapModule)]
    for part in parts:
        part.memory_format = torch.channels_last
    return len(parts)


def layout_lines(model: nn.Module, *, channels_last: bool) -> list[str]:
    """Changes the layout of a model's maps if that is asked for; returns a line where it has none."""
    if not channels_last or use_channels_last(model):
        return []
    return ["note    --run.channels_last: this task has no convolutional head that it would change"]
