"""Every layout of this folder, found by itself: a new one is a new file with a `LAYOUT`, and nothing else changes."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple

from maekit.errors import UserError
from maekit.weights.layouts.layout import Contents, Layout

_COUNTERS = ("n_averaged",)  # of torch's AveragedModel, beside any model


class Candidate(NamedTuple):
    """A layout that a set of tensors may have, and the prefix of the encoder's names, such as `module.`, or nothing."""

    layout: Layout
    prefix: str


@cache
def layouts() -> dict[str, Layout]:
    """Every layout by its name."""
    modules = (import_module(f"{__package__}.{found.name}") for found in iter_modules([str(Path(__file__).parent)]))
    found = [layout for module in modules if isinstance(layout := vars(module).get("LAYOUT"), Layout)]
    return {layout.name: layout for layout in found}


def writers() -> dict[str, Layout]:
    """Every layout that can be written, by the word of `--to`."""
    return {layout.writes: layout for layout in layouts().values() if layout.writes}


def choose_layout(path: Path, candidates: Iterable[Candidate], contents: Contents) -> Candidate | None:
    """Chooses the one candidate that recognises a set of tensors, among those of the lowest rank; None if none does.

    Raises:
        UserError: two of that rank recognise it.
    """
    found = [candidate for candidate in candidates if candidate.layout.recognise(contents, candidate.prefix)]
    lowest = min((candidate.layout.rank for candidate in found), default=0)
    first = [candidate for candidate in found if candidate.layout.rank == lowest]
    if len(first) > 1:
        names = " and ".join(f"'{candidate.layout.name}'" for candidate in first)
        raise UserError(
            f"{path} is recognised by {len(first)} layouts of weights, {names}, expected one; make `recognise` of one "
            "of them in maekit/weights/layouts narrower"
        )
    return first[0] if first else None


def beside(name: str) -> tuple[str, ...]:
    """Patterns of what files of a layout may have beside a ViT that no model here needs."""
    layout = layouts().get(name)
    return (*(layout.beside if layout else ()), *_COUNTERS)
