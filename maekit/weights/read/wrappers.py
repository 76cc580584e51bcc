"""Where in a file the encoder is: whose names it has, and what wraps it."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from maekit.errors import UserError
from maekit.weights.chosen import split_key

Family = Literal["mae", "transformers", "mmpretrain"]
Rename = Callable[[str, bool], str | None]

_PATCHES: dict[Family, str] = {
    "mae": "patch_embed.proj.weight",
    "transformers": "embeddings.patch_embeddings.projection.weight",
    "mmpretrain": "patch_embed.projection.weight",
}
_WRAPPERS = re.compile(r"((module|model|net|network|backbone|encoder|vit|_orig_mod)\.)*")


class Encoder(NamedTuple):
    """Whose names an encoder has, and the prefix before them, such as `module.backbone.` or nothing."""

    family: Family
    prefix: str


def encoder_prefixes(names: Iterable[str]) -> list[str]:
    """What stands before the names of each encoder, told by its patch embedding."""
    return [encoder.prefix for encoder in _encoders(names)]


def _encoders(names: Iterable[str]) -> list[Encoder]:
    return [
        Encoder(family, name.removesuffix(key))
        for name in names
        for family, key in _PATCHES.items()
        if name == key or name.endswith(f".{key}")
    ]


def find_encoder(path: Path, names: Iterable[str]) -> Encoder | None:
    """Finds the one encoder among names by its patch embedding; None without one in a wrapper that is known.

    Raises:
        UserError: there are two encoders, as in a training state with a momentum encoder.
    """
    found = _encoders(names)
    if len(found) > 1:
        places = " and ".join(f"'{one.prefix or _PATCHES[one.family]}'" for one in found[:4])
        file, key = split_key(path)
        ways = " or ".join(f"{file}#{f'{key}.{start}' if key else start}" for start in _distinct(found))
        raise UserError(f"{path} holds {len(found)} encoders, at {places}, expected one; choose with {ways}")
    return found[0] if found and _WRAPPERS.fullmatch(found[0].prefix) else None


def _distinct(encoders: list[Encoder]) -> list[str]:
    """For each encoder as many of its outer modules as tell it from the others; a point where it has none."""
    modules = [each.prefix.split(".")[:-1] for each in encoders]
    starts = []
    for own in modules:
        lengths = (n for n in range(1, len(own) + 1) if sum(other[:n] == own[:n] for other in modules) == 1)
        starts.append(".".join(own[: next(lengths, len(own))]) or ".")
    return starts


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
