"""What a file says beside its tensors of how it was trained: a run's card, a config of transformers, arguments."""

from collections.abc import Mapping, Sequence
from typing import Any

from maekit.system.plain import table

CARD = "maekit"
EPS = 1e-6  # of every LayerNorm here, as in facebookresearch/mae
HEAD_WIDTH = 32  # channels of a decoder's attention head where nobody says: facebookresearch/mae @ efb2a80, 512 / 16
_NORMALISED = {"normalised_pixels": True, "pixels": False}


def card_of(meta: Mapping[str, object]) -> Mapping[str, Any]:
    """The card of a maekit run, or of a file that one was made into; empty where there is none."""
    return table(meta.get(CARD))


def model_settings(meta: Mapping[str, object]) -> Mapping[str, Any]:
    """What a run's card says that its model was built with (`config.model`); empty where there is none."""
    return table(table(card_of(meta).get("config")).get("model"))


def decoder_heads(meta: Mapping[str, object]) -> int | None:
    """Attention heads of the decoder, as a card says them."""
    said = (card_of(meta), model_settings(meta), table(meta.get("args")))
    return next((each["decoder_heads"] for each in said if type(each.get("decoder_heads")) is int), None)


def norm_pix_loss(meta: Mapping[str, object]) -> bool | None:
    """Whether the pre-training predicted normalised pixels; None where nothing says so."""
    card, model = card_of(meta), model_settings(meta)
    said = [card.get("norm_pix_loss"), _NORMALISED.get(str(model.get("target")))]
    said += [table(meta.get(key)).get("norm_pix_loss") for key in ("args", "config")]
    return next((value for value in said if isinstance(value, bool)), None)


def mask_ratio(meta: Mapping[str, object]) -> float | None:
    """Share of patches that were hidden, in (0, 1); None where nothing says so."""
    said = [card_of(meta).get("mask_ratio"), model_settings(meta).get("mask_ratio")]
    said += [table(meta.get(key)).get("mask_ratio") for key in ("args", "config")]
    return next((float(value) for value in said if isinstance(value, (int, float)) and 0 < value < 1), None)


def normalisation(meta: Mapping[str, object]) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of the colours in 0..1 by which inputs are normalised, as the file says them."""
    card = card_of(meta)
    for values in (table(card.get("input")), card, table(meta.get("input"))):
        mean, std = _three(values.get("mean")), _three(values.get("std"))
        if mean and std:
            return mean, std
    return None


def norm_eps(meta: Mapping[str, object]) -> float:
    """The eps of a file's LayerNorms: a config's, else facebookresearch/mae's."""
    eps = table(meta.get("config")).get("layer_norm_eps")
    return eps if isinstance(eps, float) and 0 < eps < 1 else EPS


def said_input(meta: Mapping[str, object]) -> Mapping[str, Any]:
    """How a card or a configuration says that images are prepared: arguments of `EvalTransform`, perhaps not all."""
    return table(card_of(meta).get("input")) or table(meta.get("input"))


def pretraining_arguments(meta: Mapping[str, object], heads: int | None = None) -> dict[str, object]:
    """What a card or a config says of a pre-training, as a file of facebookresearch/mae says it in `args`.

    Empty without either; `heads` are the decoder's attention heads, as the file was read.
    """
    if not card_of(meta) and not table(meta.get("config")):
        return {}
    size = card_of(meta).get("image_size")
    found = {
        "decoder_heads": heads or decoder_heads(meta),
        "norm_pix_loss": norm_pix_loss(meta),
        "mask_ratio": mask_ratio(meta),
        "image_size": list(size) if isinstance(size, (list, tuple)) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def not_pixels(meta: Mapping[str, object]) -> str:
    """What keeps a pre-training from being anybody else's model, in words; empty where nothing does."""
    model = model_settings(meta)
    if (target := model.get("target")) is not None and target not in _NORMALISED:
        return f"it was pre-trained to predict {target}, not pixels"
    return "its encoder was given mask tokens" if model.get("encoder_mask_tokens") is True else ""


def _three(value: object) -> list[float] | None:
    if not isinstance(value, Sequence) or len(value) != 3 or not all(type(each) in (int, float) for each in value):
        return None
    return [float(each) for each in value]
