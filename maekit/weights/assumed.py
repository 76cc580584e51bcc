"""What a load of weights takes for granted, because the file does not say it."""

from collections.abc import Iterator, Sequence

from torch import nn

from maekit.weights.fit import Fit
from maekit.weights.said import model_settings, normalisation, table
from maekit.weights.state_file import StateFile, measure

EPS = 1e-6  # of every LayerNorm here, as in facebookresearch/mae
_PUBLISHED = {
    (768, 12),
    (1024, 24),
    (1280, 32),
}  # width and blocks of ViT-B, L and H, whose heads are the same everywhere
_CLOSE = 1e-3


def assumptions(
    model: nn.Module, state: StateFile, fit: Fit, colours: tuple[Sequence[float], Sequence[float]] | None
) -> Iterator[str]:
    """Says, one by one, what neither the file nor a published size tells of the model it is loaded into.

    Args:
        model: has a ViT as its `backbone`.
        state: the file.
        fit: its tensors beside the model's.
        colours: mean and standard deviation by which the data is normalised; None where that is not known.
    """
    heads = getattr(model.get_submodule("backbone.blocks.0.attn"), "num_heads", None)
    if not says_heads(state):
        yield f"{heads} attention heads, as the model has: the file does not say how many it was trained with"
    if "head.decoder_blocks.0.attn.qkv.weight" in fit.shared and state.decoder_heads is None:
        decoder = model.get_submodule("head.decoder_blocks.0.attn")
        yield (
            f"{getattr(decoder, 'num_heads', None)} attention heads in the decoder, as --model.decoder_heads says: the "
            "file does not say how many it was trained with"
        )
    eps = table(state.meta.get("config")).get("layer_norm_eps")
    if isinstance(eps, float) and eps != EPS:
        yield f"layer norms with an eps of {EPS:g}; its config says {eps:g}, which moves features by about a thousandth"
    theirs = normalisation(state.meta)
    if theirs and colours and colours[0] and not _same(theirs, colours):
        yield (
            f"images normalised as --data.mean {list(colours[0])} --data.std {list(colours[1])} say; the file was "
            f"trained with mean {theirs[0]} and std {theirs[1]}"
        )


def says_heads(state: StateFile) -> bool:
    """Whether a file says how many attention heads its encoder has, itself or by being of a published size."""
    size, named = measure(state.tensors), model_settings(state.meta).get("backbone")
    if (size.embed_dim or 0, size.num_blocks) in _PUBLISHED:
        return True
    return "config" in state.meta or (named is not None and named == size.name)


def _same(a: tuple[Sequence[float], Sequence[float]], b: tuple[Sequence[float], Sequence[float]]) -> bool:
    pairs = [pair for x, y in zip(a, b, strict=True) for pair in zip(x, y, strict=True)]
    return all(abs(x - y) < _CLOSE for x, y in pairs)
