"""Every family's declaration, found by itself in `maekit/<family>/file_kinds.py`, and questions put to all of them."""

from collections.abc import Collection
from functools import cache
from importlib import import_module
from pathlib import Path

from maekit.weights.families.family import ClassHead, Family, FileKind, Rename
from maekit.weights.families.purpose import Purpose

FILE = "file_kinds"
ENCODER = FileKind(name="encoder", words="encoder alone", has=(), rank=9)
UNKNOWN = FileKind(name="unknown", words="unknown content", has=())
_ENCODERS = ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight")


@cache
def families() -> tuple[Family, ...]:
    """Every family that declares its files, in the order of their folders' names."""
    folders = sorted(file.parent.name for file in Path(__file__).parents[2].glob(f"*/{FILE}.py"))
    found = [vars(import_module(f"maekit.{folder}.{FILE}"))["FAMILY"] for folder in folders]
    return tuple(family for family in found if isinstance(family, Family))


@cache
def kinds() -> dict[str, FileKind]:
    """Every kind of file by its name, the lowest rank first."""
    every = [kind for family in families() for kind in family.kinds]
    return {kind.name: kind for kind in sorted([*every, ENCODER, UNKNOWN], key=lambda kind: kind.rank)}


def kind_of(names: Collection[str], *, foreign: bool) -> FileKind:
    """The kind of a file with these released names; `foreign` says whether they give another project's model away.

    What an adapted ViT has more than a plain one looks foreign, and is not.
    """
    if not all(name in names for name in _ENCODERS):
        return UNKNOWN
    known = [kind for kind in kinds().values() if kind is not UNKNOWN and (kind.adapted or not foreign)]
    fitting = (k for k in known if all(n in names for n in k.has) and not any(n in names for n in k.lacks))
    return next(fitting, UNKNOWN)


def purposes() -> list[Purpose]:
    """Every family's purposes, in the order of a listing."""
    return sorted((each for family in families() for each in family.purposes), key=lambda purpose: purpose.rank)


def class_heads() -> list[ClassHead]:
    """Every head that has rows for each class."""
    return [head for family in families() for head in family.class_heads]


def extra_parameters() -> tuple[str, ...]:
    """Names of what models have beside `backbone` and `head`."""
    return tuple(name for family in families() for name in family.parameters)


def released_names(names: Collection[str]) -> Rename:
    """A function from a model's name, without `backbone.`, to the released one; None for what no family knows.

    Args:
        names: all names of the model, or of the file that it is in.
    """
    return _first([family.released(names) for family in families()])


def names_in_model(names: Collection[str], own: Collection[str]) -> dict[str, str]:
    """The name in a model of each released one; what has no other name there keeps its own.

    Args:
        names: of the file.
        own: of the model, without `backbone.`.
    """
    rename = _first([family.in_model(names, own) for family in families()])
    return {name: rename(name) or name for name in names}


def _first(renames: list[Rename]) -> Rename:
    return lambda name: next((new for rename in renames if (new := rename(name)) is not None), None)
