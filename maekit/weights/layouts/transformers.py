"""Names of Hugging Face transformers: ViTMAE and ViT, as saved and as they are in memory."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.layout import Layout, is_plain
from maekit.weights.layouts.stacked import stacked, unstacked
from maekit.weights.read.wrappers import unwrap

# The saved names are those on the Hub and of save_pretrained; the others those of model.state_dict() in 5.x.
_LAYER = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)")
_DECODER_LAYER = re.compile(r"decoder\.(?:decoder_layers|decoder_encoder\.layer)\.(\d+)\.(.+)\.(weight|bias)")
_DECODER = re.compile(r"decoder\.(mask_token|decoder_(?:embed|pos_embed|norm|pred)(?:\..+)?)")
_IN_LAYER = {
    "attention.attention.query": "attn.q",
    "attention.attention.key": "attn.k",
    "attention.attention.value": "attn.v",
    "attention.output.dense": "attn.proj",
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_ONCE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}


def from_transformers(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Renames a ViTMAEModel, ViTMAEForPreTraining, ViTModel or ViTForImageClassification; q, k and v become one."""
    return stacked(unwrap(path, tensors, prefix, _rename))


def _rename(name: str, inside: bool) -> str | None:
    if inside and name in _ONCE:
        return _ONCE[name]
    if inside and (match := _LAYER.fullmatch(name)) and match[2] in _IN_LAYER:
        return f"blocks.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"
    if (match := _DECODER_LAYER.fullmatch(name)) and match[2] in _IN_LAYER:
        return f"decoder_blocks.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"
    if match := _DECODER.fullmatch(name):
        return match[1]
    if name in ("classifier.weight", "classifier.bias"):
        return name.replace("classifier", "head")
    return name if inside else None


def to_transformers(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives tensors the names that the Hub's models have; beside a head or a decoder the encoder's begin with `vit.`.

    They are those that transformers' save_pretrained writes, but for the decoder's layers: `decoder_layers` is read by
    every version, while transformers 5 writes `decoder_encoder.layer`.
    """
    prefix = "vit." if "head.weight" in tensors or "decoder_pred.weight" in tensors else ""
    once = {new: old for old, new in _ONCE.items()}
    written: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in once:
            written[prefix + once[name]] = tensor
        elif match := re.fullmatch(r"(decoder_)?blocks\.(\d+)\.(.+)\.(weight|bias)", name):
            start = "decoder.decoder_layers" if match[1] else f"{prefix}encoder.layer"
            written |= _split(f"{start}.{match[2]}", match[3], match[4], tensor)
        elif name.startswith("head."):
            written[name.replace("head", "classifier")] = tensor
        else:
            written[f"decoder.{name}"] = tensor
    return written


def _split(layer: str, module: str, leaf: str, tensor: Tensor) -> dict[str, Tensor]:
    saved = {new: old for old, new in reversed(_IN_LAYER.items())}  # the first of two, which is the saved name
    parts = unstacked(f"{module}.{leaf}", tensor)
    return {f"{layer}.{saved[name.removesuffix(f'.{leaf}')]}.{leaf}": part for name, part in parts.items()}


LAYOUT = Layout(
    name="transformers",
    words="Hugging Face transformers",
    recognise=lambda _contents, _prefix: True,
    to_ours=from_transformers,
    rank=2,
    patches="embeddings.patch_embeddings.projection.weight",
    # ViTModel has a pooler whether it was trained or not; ViTForMaskedImageModeling has a mask token for its encoder,
    # and one convolution for a decoder.
    beside=("pooler.*", "embeddings.mask_token", "decoder.0.*"),
    foreign=((r"vit\.embeddings\.", "a ViT or ViTMAE of transformers"),),
    writes="hf",
    from_ours=to_transformers,
    holds=is_plain,
)
