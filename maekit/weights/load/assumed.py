"""What a load of weights assumes because the file does not record it."""

from collections.abc import Iterator, Sequence

from torch import nn

from maekit.backbone.protocol import Backbone
from maekit.backbone.sizes import all_sizes, load_size
from maekit.weights.families.fit import Attempt, Fit
from maekit.weights.families.registry import families
from maekit.weights.load.bands import Bands
from maekit.weights.read.metadata import EPS, card_of, norm_eps, normalisation
from maekit.weights.state.state_file import StateFile

_PUBLISHED = {
    (768, 12),
    (1024, 24),
    (1280, 32),
}  # width and blocks of ViT-B, L and H: everybody gives them the same heads
_CLOSE = 1e-3


def assumptions(
    model: nn.Module,
    backbone: Backbone,
    state: StateFile,
    fit: Fit,
    bands: Bands | None,
) -> Iterator[str]:
    """Yields one sentence for each thing about the model that neither the file nor a published size determines.

    Args:
        model: what is loaded into.
        backbone: its backbone.
        state: the file.
        fit: its tensors beside the model's.
        bands: the channels of the data and how they are normalised; None if that is not known.
    """
    if not says_heads(state):
        heads = backbone.num_heads
        yield f"{heads} attention heads, as the model has: the file does not say how many it was trained with"
    for family in families():
        yield from family.notes(Attempt(model, fit, state.meta, state.decoder_heads))
    yield from state.said.notes
    if more := _alike(state):
        yield more
    own = next((module.eps for module in backbone.modules() if isinstance(module, nn.LayerNorm)), EPS)
    if (eps := norm_eps(state.meta, own)) != own:
        yield f"layer norms with an eps of {own:g}; its config says {eps:g}, which moves features by about a thousandth"
    theirs = normalisation(state.meta)
    colours = (bands.mean, bands.std) if bands else ((), ())
    if theirs and len(theirs[0]) == len(colours[0]) > 1 and not _same(theirs, colours):
        yield (
            f"images normalised as --data.mean {list(colours[0])} --data.std {list(colours[1])} say; the file was "
            f"trained with mean {theirs[0]} and std {theirs[1]}"
        )


def assumed_heads(state: StateFile) -> list[str]:
    """Says that the attention heads are those of maekit's table of sizes; empty if the file records them."""
    if says_heads(state) or state.num_heads is None:
        return []
    return [f"{state.num_heads} attention heads, as {state.shape.name} has"]


def says_heads(state: StateFile) -> bool:
    """Whether the number of the encoder's attention heads is known: by a config, a card of maekit, or its size."""
    size = state.shape
    published = (size.embed_dim or 0, size.num_blocks) in _PUBLISHED and not size.parts.gated
    known = state.said.variant is not None and size.name in all_sizes()  # a pre-training whose sizes are published
    return published or known or state.knows_heads or bool(card_of(state.meta))


def _alike(state: StateFile) -> str:
    """Says which rows a file fits alike where they compute different features; empty where there is one."""
    rows = [load_size(name) for name in state.shape.names]
    heads = state.num_heads if says_heads(state) else None
    alike = [row.name for row in rows[1:] if heads in (None, row.num_heads)]
    if not alike:
        return ""
    return f"its ViT is {rows[0].name}; its tensors fit {' and '.join(alike)} alike, which --model.backbone can name"


def _same(a: tuple[Sequence[float], Sequence[float]], b: tuple[Sequence[float], Sequence[float]]) -> bool:
    pairs = [pair for x, y in zip(a, b, strict=True) for pair in zip(x, y, strict=True)]
    return all(abs(x - y) < _CLOSE for x, y in pairs)
