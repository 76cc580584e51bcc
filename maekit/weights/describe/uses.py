"""What a file of weights serves for, and what not, with the reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from maekit.backbone.sizes import all_sizes, load_size
from maekit.weights.describe.facts import Facts
from maekit.weights.get.find import official_weights
from maekit.weights.layouts.registry import beside
from maekit.weights.load.fit import OVERLAYS, channels_problem, matches
from maekit.weights.read.shorten import some

_DECODER, _HEAD = ("decoder_", "mask_token"), ("head.", "fc_norm.")
_BROKEN = "NaN or infinite values in"


@dataclass(frozen=True)
class Use:
    """One thing to do with weights: whether it can be done, and how, or why not."""

    possible: bool
    how: str


def uses(facts: Facts) -> dict[str, Use]:
    """What can be done with a file, by purpose.

    Purposes are fine_tuning (to start it), features, linear_probe (to train one), validation, reconstruction, and
    pre_training (to go on with it).
    """
    if facts.kind in ("segmenter", "detector"):
        more = "relative positions and LayerScale" if facts.kind == "segmenter" else "windows and relative positions"
        adapted = Use(False, f"its ViT has {more}, which a plain one lacks")
        own = Use(True, f"--model.weights {facts.path} on the task of its kind and size")
        start = Use(True, f"{own.how}, with --model.new_head true for other classes")
        return {name: {"validation": own, "fine_tuning": start}.get(name, adapted) for name in _PURPOSES}
    if why := _nothing(facts):
        return {name: Use(False, why) for name in _PURPOSES}
    return {name: purpose(facts) for name, purpose in _PURPOSES.items()}


def _nothing(facts: Facts) -> str:
    """Why the file is of no use at all; empty if it may be of some."""
    if facts.seems:
        return f"it seems to hold {facts.seems}, expected the plain ViT of a masked autoencoder"
    if facts.embed_dim is None or not facts.num_blocks:
        return "it has no ViT by names that are known here"
    if facts.size is None:
        return f"its size is none of {', '.join(all_sizes())}"
    if facts.num_heads not in (None, heads := load_size(facts.size).num_heads):
        return f"it has {facts.num_heads} attention heads, expected {heads}"
    if broken := _of_blocks(facts.not_finite):
        return f"it has {_BROKEN} {some(broken, 4)}; take another copy or an earlier checkpoint"
    if other := channels_problem(facts.channels):
        return other
    if lacking := _of_blocks(facts.missing):
        return f"it lacks {some(lacking, 4)}"
    if other_shapes := _of_blocks(facts.misshapen):
        return f"it has {some(other_shapes, 4)} in another shape or type than a ViT of its size"
    known = ("norm.*", *beside(facts.layout))
    if left := [name for name in facts.unused if not matches(name, known)]:
        return f"it has {len(left)} tensors that no such model has: {some(left, 4)}"
    return ""


def _of_blocks(names: Sequence[str]) -> list[str]:
    """Of names, those that every use wants: of the encoder, less its final norm."""
    return [name for name in names if not name.startswith(("norm.", *_DECODER, *_HEAD))]


def _wrong(facts: Facts, *starts: str) -> str:
    """What is missing or broken in a part of the file."""
    if lacking := [name for name in facts.missing if name.startswith(starts)]:
        return f"it lacks {some(lacking, 4)}"
    if other := [name for name in facts.misshapen if name.startswith(starts)]:
        return f"it has {some(other, 4)} in another shape or type than a ViT of its size"
    if broken := [name for name in facts.not_finite if name.startswith(starts)]:
        return f"it has {_BROKEN} {some(broken, 4)}"
    return ""


def _fine_tuning(facts: Facts) -> Use:
    fresh = ", with --model.new_head true for other classes" if facts.classifier else ""
    return Use(True, f"--model.weights {facts.path} with {_size(facts)}{fresh}")


def _features(facts: Facts) -> Use:
    if facts.final_norm and (why := _wrong(facts, "norm.")):
        return Use(False, why)
    raw = "" if facts.final_norm else "; the tokens are raw ones: it has no final norm"
    return Use(True, f"maekit.load_backbone({facts.path!r}){raw}")


def _linear_probe(facts: Facts) -> Use:
    if not facts.final_norm:
        fresh = " --model.new_head true" if facts.classifier else ""
        mean = f"--model.weights {facts.path} --model.pooling mean{fresh} with {_size(facts)}"
        return Use(True, f"{mean}; it has no final norm for the class token, like all fine-tuned with mean pooling")
    if why := _wrong(facts, "norm."):
        return Use(False, why)
    fresh = " --model.new_head true" if facts.classifier and facts.kind != "linear_probe" else ""
    return Use(True, f"--model.weights {facts.path}{fresh} with {_size(facts)}")


def _validation(facts: Facts) -> Use:
    head = facts.classifier
    if head is None:
        return Use(False, "it holds no classifier: fine-tune it first, or name a fine-tuned file")
    if why := _wrong(facts, *_HEAD, "norm."):
        return Use(False, why)
    if facts.kind == "classifier_mean" and facts.final_norm:
        return Use(False, "it normalises tokens before pooling and after, which no model here does")
    data = f"on data of {head.num_classes} classes"
    if facts.kind != "linear_probe":
        return Use(True, f"with --model.pooling {head.pooling} and {_size(facts)}, {data}")
    if head.pooling == "mean" and facts.layout == "maekit":
        return Use(True, f"as a linear probe, with --model.pooling mean and {_size(facts)}, {data}")
    if head.pooling == "mean":
        return Use(False, "it is a linear probe on the mean of the tokens, expected one on the class token")
    return Use(True, f"as a linear probe, with {_size(facts)}, {data}")


def _decoding(facts: Facts) -> Use:
    if facts.decoder is None:
        return Use(False, f"it holds no decoder{_full_file(facts)}")
    if why := _wrong(facts, *_DECODER, "norm."):
        return Use(False, why)
    return Use(True, f"maekit reconstruct IMAGES --weights {facts.path}")


def _pre_training(facts: Facts) -> Use:
    use = _decoding(facts)
    return replace(use, how=f"--model.weights {facts.path} with {_size(facts)}") if use.possible else use


def _size(facts: Facts) -> str:
    word = (facts.size or "").split("_")[1]
    return f"--recipe {word} or --model.backbone {facts.size}" if word in OVERLAYS else f"--model.backbone {facts.size}"


def _full_file(facts: Facts) -> str:
    """Which of the official files has the decoder of a ViT of this size."""
    full = official_weights().get(f"mae_vit_{(facts.size or '').split('_')[1]}_full")
    return f"; {full.file} has one of this size (name: {full.name})" if full else ""


_PURPOSES: dict[str, Callable[[Facts], Use]] = {
    "fine_tuning": _fine_tuning,
    "features": _features,
    "linear_probe": _linear_probe,
    "validation": _validation,
    "reconstruction": _decoding,
    "pre_training": _pre_training,
}
