"""The files of masked autoencoders with their decoder: names, what they serve for, and what they leave unsaid."""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from maekit.pretraining.target import NormalisedPixels, Pixels
from maekit.weights.families.facts import Decoder, Facts
from maekit.weights.families.family import Described, Family, FileKind, Part, Rename
from maekit.weights.families.fit import ANEW, Attempt
from maekit.weights.families.purpose import Purpose, Use, problem_in, size_flags
from maekit.weights.get.official import official_weights
from maekit.weights.read.metadata import norm_pix_loss

# A decoder is the whole head, and its names are the released ones; what its target was measured from (`head.target.*`)
# has no released name, and is called as if it were the decoder's, so that who has no use for one leaves both alone.
_DECODER = re.compile(r"mask_token|decoder_(?:embed|pos_embed|blocks|norm|pred)(?:\..+)?")
_TARGET, _TARGET_IN_MODEL = "decoder_target.", "head.target."
_ENCODER_MASK_TOKEN = "encoder_mask_token"  # of a model whose encoder sees mask tokens; it has no released name either
_STARTS = ("decoder_", "mask_token")
_ATTENTION = "head.decoder_blocks.0.attn"


def _released(_names: Collection[str]) -> Rename:
    def rename(name: str) -> str | None:
        if name.startswith(_TARGET_IN_MODEL):
            return _TARGET + name.removeprefix(_TARGET_IN_MODEL)
        in_head = name.removeprefix("head.")
        return in_head if _DECODER.fullmatch(in_head) else None

    return rename


def _in_model(_names: Collection[str], own: Collection[str]) -> Rename:
    """Where the model has no decoder, the names of one are kept."""

    def rename(name: str) -> str | None:
        if name.startswith(_TARGET):
            return _TARGET_IN_MODEL + name.removeprefix(_TARGET)
        return f"head.{name}" if _DECODER.fullmatch(name) else None

    return rename if "head.decoder_pred.weight" in own else lambda _name: None


def _describe(part: Part) -> Described:
    names = [name for name in part.tensors if name.startswith("decoder_")]
    embed = part.tensors.get("decoder_embed.weight")
    blocks = {name.split(".")[1] for name in names if name.startswith("decoder_blocks.")}
    width = None if embed is None else embed.shape[0]
    decoder = Decoder(width, len(blocks), part.decoder_heads) if names else None
    if not blocks and "decoder_pred.weight" not in names:
        return Described(decoder=decoder)
    layers = [
        name.removeprefix("blocks.0.") for name in part.tensors if name.startswith("blocks.0.")
    ]  # as the encoder's
    around = [f"decoder_{layer}.{leaf}" for layer in ("embed", "norm", "pred") for leaf in ("weight", "bias")]
    inside = [f"decoder_blocks.{index}.{layer}" for index in sorted(blocks or {"0"}, key=int) for layer in layers]
    hidden = _ENCODER_MASK_TOKEN if _ENCODER_MASK_TOKEN in part.tensors else "mask_token"
    wanted = (hidden, "decoder_pos_embed", *around, *inside)
    return Described(missing=tuple(name for name in wanted if name not in part.tensors), decoder=decoder)


def _num_heads(attempt: Attempt) -> int | None:
    heads = getattr(attempt.model.get_submodule(_ATTENTION), "num_heads", None)
    return heads if isinstance(heads, int) else None


def _problems(attempt: Attempt) -> Iterator[str]:
    """Says where a norm is missing, or the decoder has other attention heads than the file's, which no shape shows."""
    fit, theirs = attempt.fit, attempt.decoder_heads
    pooled = "head.fc_norm.weight" in fit.in_file and "head.fc_norm.running_mean" not in fit.in_file
    if pooled and "norm.weight" in attempt.missing and "head.decoder_pred.weight" in fit.own:
        yield (
            "it was fine-tuned with mean pooling, which leaves no final norm: start with a fresh norm and decoder, "
            f"{ANEW}"
        )
    if f"{_ATTENTION}.qkv.weight" in fit.shared and theirs is not None:
        ours = _num_heads(attempt)
        if ours is not None and theirs != ours:
            yield f"got {theirs} attention heads in the decoder, expected {ours}"


def _notes(attempt: Attempt) -> Iterator[str]:
    if f"{_ATTENTION}.qkv.weight" in attempt.fit.shared and attempt.decoder_heads is None:
        yield (
            f"{_num_heads(attempt)} attention heads in the decoder, as --model.decoder_heads says: the file does not "
            "say how many it was trained with"
        )
    if "head.decoder_pred.weight" not in attempt.fit.shared:
        return
    target = getattr(attempt.model.get_submodule("head"), "target", None)
    if not isinstance(target, (Pixels, NormalisedPixels)):
        return
    ours, theirs = isinstance(target, NormalisedPixels), norm_pix_loss(attempt.metadata)
    words = {True: "normalised pixels", False: "plain pixels"}
    if theirs is None:
        yield f"{words[ours]} as what the decoder predicts, as --model.target says: the file does not say"
    elif theirs != ours:
        yield f"{words[ours]} as what the decoder predicts, as --model.target says; the file predicted {words[theirs]}"


def _reconstruction(facts: Facts) -> Use:
    if facts.decoder is None:
        full = official_weights().get(f"mae_vit_{(facts.size or '').split('_')[1]}_full")
        return Use(
            False,
            "it holds no decoder" + (f"; {full.file} has one of this size (name: {full.name})" if full else ""),
        )
    if why := problem_in(facts, *_STARTS, "norm."):
        return Use(False, why)
    return Use(True, f"maekit reconstruct IMAGES --weights {facts.path}")


def _pre_training(facts: Facts) -> Use:
    use = _reconstruction(facts)
    how = f"--model.weights {facts.path} with {size_flags(facts.size or '')}"
    return replace(use, how=how) if use.possible else use


FAMILY = Family(
    kinds=(FileKind(name="pretraining", words="pre-training with decoder", has=("decoder_pred.weight",), rank=2),),
    starts=_STARTS,
    parameters=(_ENCODER_MASK_TOKEN,),
    tables=("head.decoder_pos_embed",),
    pixels=("head.decoder_pred.",),
    of_patches=("head.target.",),
    released=_released,
    in_model=_in_model,
    describe=_describe,
    problems=_problems,
    notes=_notes,
    purposes=(
        Purpose(4, "reconstruction", "reconstruction", _reconstruction),
        Purpose(5, "pre_training", "going on with pre-training", _pre_training),
    ),
)
