"""How a project names the parts of a ViT, as a table that is read in both directions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from maekit.weights.layouts.stacked import joined_mlp, split_mlp, stacked, unstacked

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Names of another project and ours, theirs first; of several of theirs for one of ours the first is written.

    Ours may be `attn.q`, `attn.k` and `attn.v`, which are stacked, and `mlp.gate` and `mlp.value`, which are joined.

    Attributes:
        layers: what the list of blocks is called.
        in_layer: modules or parameters of a block, by the name within it.
        once: those outside blocks.
    """

    layers: tuple[str, ...]
    in_layer: Pairs
    once: Pairs

    def ours(self, name: str) -> str | None:
        """Our name of one of theirs, within an encoder; None for what has none."""
        for layers in self.layers:
            if match := re.fullmatch(rf"{re.escape(layers)}\.(\d+)\.(.+)", name):
                inside = _renamed(match[2], self.in_layer)
                return f"blocks.{match[1]}.{inside}" if inside else None
        return _renamed(name, self.once)

    def theirs(self, name: str) -> str | None:
        """Their name of one of ours; None for what they have no place for."""
        if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
            inside = _renamed(match[2], _turned(self.in_layer))
            return f"{self.layers[0]}.{match[1]}.{inside}" if inside else None
        return _renamed(name, _turned(self.once))

    def written(
        self, tensors: Mapping[str, Tensor], *, key_bias: bool = True, gated: bool = False
    ) -> dict[str, Tensor]:
        """Gives tensors of our names theirs, in our order; those they have no place for are left out.

        Args:
            tensors: by our names.
            key_bias: whether their keys have a bias.
            gated: whether the first layer of an MLP is split into gate and value.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            parts = unstacked(name, tensor, key_bias=key_bias) if self._splits() else {name: tensor}
            parts = split_mlp(name, tensor) if gated and ".mlp.fc1." in name else parts
            found |= {new: each for old, each in parts.items() if (new := self.theirs(old))}
        return found

    def _splits(self) -> bool:
        return any(ours == "attn.q" for _, ours in self.in_layer)


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stacks queries, keys and values, and gates and values of MLPs, of tensors by our names."""
    return joined_mlp(stacked(tensors))


def _renamed(name: str, pairs: Pairs) -> str | None:
    for old, new in pairs:
        if name == old:
            return new
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return None


def _turned(pairs: Pairs) -> Pairs:
    return tuple((ours, theirs) for theirs, ours in pairs)
