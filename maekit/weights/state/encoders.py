"""Finds the encoder in a set of tensors, and its layout."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from maekit.errors import UserError
from maekit.weights.chosen import split_key
from maekit.weights.layouts.layout import Contents
from maekit.weights.layouts.registry import Candidate, choose_layout, layouts

_WRAPPERS = re.compile(
    r"((module|model|net|network|backbone|encoder|vit|dinov2|dinov2_with_registers|dinov3_vit|ijepa|beit|vision_model"
    r"|_orig_mod)\.)*"
)


class _Encoder(NamedTuple):
    patches: str
    prefix: str


def encoder_prefixes(names: Iterable[str]) -> list[str]:
    """Returns what stands before the names of each encoder, found by its patch filters."""
    return [encoder.prefix for encoder in _encoders(names)]


def _encoders(names: Iterable[str]) -> list[_Encoder]:
    keys = sorted({layout.patches for layout in layouts().values()})
    return [
        _Encoder(key, name.removesuffix(key))
        for name in names
        for key in keys
        if name == key or name.endswith(f".{key}")
    ]


def find_layout(path: Path, contents: Contents) -> Candidate | None:
    """Finds the one encoder among tensors, and its layout; None without an encoder in a wrapper that is known.

    Raises:
        UserError: there are two encoders, as in a training state with a momentum encoder, and no layout that says which
            is meant; or two layouts recognise the tensors.
    """
    with_prefix = (layout for layout in layouts().values() if layout.encoder)
    there = (each for each in with_prefix if any(name.startswith(each.encoder) for name in contents.tensors))
    if chosen := choose_layout(path, (Candidate(layout, layout.encoder) for layout in there), contents):
        return chosen
    found = _encoders(contents.tensors)
    if len(found) > 1:
        places = " and ".join(f"'{one.prefix or one.patches}'" for one in found[:4])
        file, key = split_key(path)
        ways = " or ".join(f"{file}#{f'{key}.{start}' if key else start}" for start in _distinct(found))
        raise UserError(f"{path} holds {len(found)} encoders, at {places}, expected one; choose with {ways}")
    if not found or not _WRAPPERS.fullmatch(found[0].prefix):
        return None
    patches, prefix = found[0]
    same = (layout for layout in layouts().values() if layout.patches == patches)
    return choose_layout(path, (Candidate(layout, prefix) for layout in same), contents)


def _distinct(encoders: list[_Encoder]) -> list[str]:
    """Returns for each encoder just enough of its outer modules to make the name unique; `.` if it has none."""
    modules = [each.prefix.split(".")[:-1] for each in encoders]
    starts = []
    for own in modules:
        lengths = (n for n in range(1, len(own) + 1) if sum(other[:n] == own[:n] for other in modules) == 1)
        starts.append(".".join(own[: next(lengths, len(own))]) or ".")
    return starts
