"""Takes off what wraps an encoder, and gives tensors our names."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from maekit.errors import UserError

Rename = Callable[[str, bool], str | None]


def unwrap(path: Path, tensors: Mapping[str, Tensor], prefix: str, rename: Rename) -> dict[str, Tensor]:
    """Gives tensors their released names, in the file's order.

    Args:
        path: the file, for the error.
        tensors: by the file's names.
        prefix: what stands before the encoder's names.
        rename: asked for each name less the prefix (True) or, beside the encoder, less as many of its modules as the
            name shares (False); gives the released name, or None for what has none, which then keeps its own.

    Raises:
        UserError: two tensors have the same released name.
    """
    named: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        inside = name.startswith(prefix)
        new = rename(name[len(prefix) :] if inside else _beside(name, prefix), inside) or name
        if new in named:
            raise UserError(
                f"{path} has two tensors for '{new}', '{origin[new]}' and '{name}', expected one; "
                "save the state_dict() of the model alone with torch.save"
            )
        named[new], origin[new] = tensor, name
    return named


def _beside(name: str, prefix: str) -> str:
    """Takes off the modules that hold both the name and the encoder: `model.head.x` beside `model.vit.` is `head.x`."""
    modules = prefix.split(".")[:-1]
    for count in range(len(modules) - 1, 0, -1):
        shared = ".".join(modules[:count]) + "."
        if name.startswith(shared):
            return name.removeprefix(shared)
    return name
