"""Every layout of this folder and those in it, found by itself: a new one is a new file with a `LAYOUT`, no more."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import NamedTuple

from maekit.backbone.sizes import Size
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
    places = walk_packages([str(Path(__file__).parent)], f"{__package__}.")
    modules = (import_module(found.name) for found in places if not found.ispkg)
    found = [layout for module in modules if isinstance(layout := vars(module).get("LAYOUT"), Layout)]
    return {layout.name: layout for layout in found}


def writers() -> tuple[str, ...]:
    """The words of `--to`."""
    return tuple(sorted({layout.writes for layout in layouts().values() if layout.writes}))


def writer(to: str, size: Size | None) -> Layout | None:
    """The layout of a word of `--to` that can hold a ViT of a size; None if none can.

    Args:
        to: one of `writers()`.
        size: None where it is not known; then the layout that takes the plain ViT.
    """
    known = sorted((each for each in layouts().values() if each.writes == to), key=lambda each: each.rank)
    plain = Size("", 4, 1, 1, 1)
    return next((layout for layout in known if layout.holds(size or plain)), None)


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
