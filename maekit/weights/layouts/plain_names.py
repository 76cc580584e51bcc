"""Names of facebookresearch/mae and timm, alone or in somebody's LightningModule."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.families.registry import released_names
from maekit.weights.read.wrappers import unwrap

_DECODER = re.compile(r"(?:decoder\.|head\.)?(mask_token|decoder_(?:embed|pos_embed|blocks|norm|pred)(?:\..+)?)")
_SCALE = re.compile(r"\.ls([12])\.gamma$")  # timm's and DINOv2's names of LayerScale
_HEAD = re.compile(r"(?:head|classifier)\.((?:fc\.|1\.)?(?:weight|bias)|(?:fc_norm|0)\..+)")


def from_plain(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Takes wrappers off the encoder, and puts a decoder and a classifier that stand beside it in their places."""
    released = released_names(tensors)

    def rename(name: str, inside: bool) -> str | None:
        new = released(name) or _rename(name, inside)
        return (released(new) or new) if new else None

    return unwrap(path, tensors, prefix, rename)


def decoder_name(name: str) -> str | None:
    """Our name of a decoder's tensor that stands beside the encoder; None for another tensor."""
    match = _DECODER.fullmatch(name)
    return match[1] if match else None


def _rename(name: str, inside: bool) -> str | None:
    if match := _HEAD.fullmatch(name):
        return f"head.{match[1]}"
    if inside:
        return _SCALE.sub(r".gamma_\1", name)
    return name if name.startswith("fc_norm.") else decoder_name(name)
