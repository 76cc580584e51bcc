"""Names of mmpretrain (MAE pre-training, fine-tuning, linear probing) and of mmsegmentation (MAE with UperNet)."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.layout import Contents
from maekit.weights.read.wrappers import unwrap

PATCHES = "patch_embed.projection.weight"  # the name of the patch filters within an encoder

_LAYER = re.compile(r"(layers|neck\.decoder_blocks)\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER = {
    "ln1": "norm1",
    "attn.qkv": "attn.qkv",
    "attn.proj": "attn.proj",
    "ln2": "norm2",
    "ffn.layers.0.0": "mlp.fc1",
    "ffn.layers.1": "mlp.fc2",
}
_INSIDE = {"patch_embed.projection": "patch_embed.proj", "ln1": "norm", "ln2": "fc_norm"}
_ADAPTED = {"attn.relative_position_bias_table": "attn.position.table"}
_SEGMENTER = {
    "neck.upsample_": "head.pyramid.upsample_",
    "decode_head.": "head.decode.",
    "auxiliary_head.": "head.auxiliary.",
}
_NECK = {"decoder_embed": "decoder_embed", "ln1": "decoder_norm", "decoder_pred": "decoder_pred"}


def from_openmmlab(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Renames a checkpoint's tensors.

    Of the backbone, `ln1` normalises the tokens and `ln2` their mean (out_type avg_featmap). A pre-training neck is
    the decoder, whose norm mmcv names `ln1`; that of linear probing is the BatchNorm before the classifier.
    Source: open-mmlab/mmpretrain mmpretrain/models/backbones/vision_transformer.py, necks/mae_neck.py,
    heads/linear_head.py (`head.fc`), heads/vision_transformer_head.py (`head.layers.head`); open-mmlab/mmsegmentation
    mmseg/models/backbones/mae.py, beit.py, necks/featurepyramid.py, whose names go to those of maekit's own model.
    """
    probe = any(name.endswith("neck.bn.running_mean") for name in tensors)

    def rename(name: str, inside: bool) -> str | None:
        if inside:
            return _backbone(name) or _adapted(name) or name
        return _layer(name) or _neck(name) or _head(name, probe) or _segmenter(name)

    return unwrap(path, tensors, prefix, rename)


def is_segmenter(contents: Contents) -> bool:
    """Whether tensors are those of a segmenter of mmsegmentation."""
    return "decode_head.conv_seg.weight" in contents.tensors


def class_names(meta: Mapping[str, object]) -> dict[str, object]:
    """Puts the classes of a checkpoint's `meta.dataset_meta.classes`, if it has them, under `class_names`."""
    more = meta.get("meta")
    data = more.get("dataset_meta") if isinstance(more, Mapping) else None
    classes = data.get("classes") if isinstance(data, Mapping) else None
    names = [str(name) for name in classes] if isinstance(classes, (list, tuple)) else []
    return {"class_names": names} if names else {}


def _layer(name: str) -> str | None:
    match = _LAYER.fullmatch(name)
    if not match or match[3] not in _IN_LAYER:
        return None
    start = "blocks" if match[1] == "layers" else "decoder_blocks"
    return f"{start}.{match[2]}.{_IN_LAYER[match[3]]}.{match[4]}"


def _backbone(name: str) -> str | None:
    module, _, leaf = name.rpartition(".")
    return f"{_INSIDE[module]}.{leaf}" if module in _INSIDE else _layer(name)


def _adapted(name: str) -> str | None:
    """What mmsegmentation's MAE has more than a ViT."""
    match = re.fullmatch(r"layers\.(\d+)\.(gamma_[12]|attn\.relative_position_bias_table)", name)
    return f"blocks.{match[1]}.{_ADAPTED.get(match[2], match[2])}" if match else None


def _segmenter(name: str) -> str | None:
    part = next((part for part in _SEGMENTER if name.startswith(part)), None)
    return _SEGMENTER[part] + name.removeprefix(part) if part else None


def _neck(name: str) -> str | None:
    if name in ("neck.mask_token", "neck.decoder_pos_embed"):
        return name.removeprefix("neck.")
    module, _, leaf = name.removeprefix("neck.").rpartition(".")
    if not name.startswith("neck."):
        return None
    return f"head.0.{leaf}" if module == "bn" else f"{_NECK[module]}.{leaf}" if module in _NECK else None


def _head(name: str, probe: bool) -> str | None:
    match = re.fullmatch(r"head\.(?:fc|layers\.head)\.(weight|bias)", name)
    return f"head.{'1.' if probe else ''}{match[1]}" if match else None
