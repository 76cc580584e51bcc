"""Metadata of a file of weights: a run's card, a config of transformers, or the arguments of facebookresearch/mae."""

from collections.abc import Mapping, Sequence
from typing import Any

from maekit.system.plain import table

CARD = "maekit"
EPS = 1e-6  # of every LayerNorm here, as in facebookresearch/mae
HEAD_WIDTH = 32  # channels of a decoder's attention head where nobody says: facebookresearch/mae @ efb2a80, 512 / 16
_NORMALISED = {"normalised_pixels": True, "pixels": False}


def card_of(meta: Mapping[str, object]) -> Mapping[str, Any]:
    """Returns the card of a maekit run, also from a file converted from one; empty without a card."""
    return table(meta.get(CARD))


def model_settings(meta: Mapping[str, object]) -> Mapping[str, Any]:
    """Returns the settings of a run's model (`config.model` of its card); empty without a card."""
    return table(table(card_of(meta).get("config")).get("model"))


def decoder_heads(meta: Mapping[str, object]) -> int | None:
    """Returns the decoder's attention heads from a card or `args`; None if neither has them."""
    places = (card_of(meta), model_settings(meta), table(meta.get("args")))
    return next((each["decoder_heads"] for each in places if type(each.get("decoder_heads")) is int), None)


def norm_pix_loss(meta: Mapping[str, object]) -> bool | None:
    """Whether the pre-training predicted normalised pixels; None if the metadata does not say."""
    card, model = card_of(meta), model_settings(meta)
    values = [card.get("norm_pix_loss"), _NORMALISED.get(str(model.get("target")))]
    values += [table(meta.get(key)).get("norm_pix_loss") for key in ("args", "config")]
    return next((value for value in values if isinstance(value, bool)), None)


def mask_ratio(meta: Mapping[str, object]) -> float | None:
    """Returns the share of patches that were hidden, in (0, 1); None if the metadata does not say."""
    values = [card_of(meta).get("mask_ratio"), model_settings(meta).get("mask_ratio")]
    values += [table(meta.get(key)).get("mask_ratio") for key in ("args", "config")]
    return next((float(value) for value in values if isinstance(value, (int, float)) and 0 < value < 1), None)


def normalisation(meta: Mapping[str, object]) -> tuple[list[float], list[float]] | None:
    """Returns mean and standard deviation of each channel in 0..1 for inputs; None if not said."""
    card = card_of(meta)
    for values in (table(card.get("input")), card, table(meta.get("input"))):
        mean, std, unit = _numbers(values.get("mean")), _numbers(values.get("std")), values.get("unit")
        if mean and std and len(mean) == len(std):
            scale = unit if isinstance(unit, int | float) and unit > 0 else 1  # of bands: see `Bands.unit`
            return [each / scale for each in mean], [each / scale for each in std]
    return None


def config_eps(meta: Mapping[str, object]) -> float | None:
    """Returns the eps of a file's LayerNorms as its configuration says it; None where it does not."""
    eps = table(meta.get("config")).get("layer_norm_eps")
    return eps if isinstance(eps, float) and 0 < eps < 1 else None


def norm_eps(meta: Mapping[str, object], usual: float = EPS) -> float:
    """Returns the eps of a file's LayerNorms: from a config, else the usual one, facebookresearch/mae's if not said."""
    eps = config_eps(meta)
    return usual if eps is None else eps


def recorded_input(meta: Mapping[str, object]) -> Mapping[str, Any]:
    """Returns the arguments of `EvalTransform` that a card or a configuration records; possibly not all of them."""
    return table(card_of(meta).get("input")) or table(meta.get("input"))


def pretraining_arguments(meta: Mapping[str, object], heads: int | None = None) -> dict[str, object]:
    """Returns what a card or a config records of a pre-training, under the names of facebookresearch/mae's `args`.

    Empty without either. `heads`: attention heads of the decoder, if they are known from elsewhere.
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
    """Explains why other projects have no place for a pre-training; empty if they have."""
    model = model_settings(meta)
    if (target := model.get("target")) is not None and target not in _NORMALISED:
        return f"it was pre-trained to predict {target}, not pixels"
    return "its encoder was given mask tokens" if model.get("encoder_mask_tokens") is True else ""


def _numbers(value: object) -> list[float] | None:
    if not isinstance(value, Sequence) or not all(type(each) in (int, float) for each in value):
        return None
    return [float(each) for each in value]
