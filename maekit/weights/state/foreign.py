"""Models that are no plain ViT, recognised by the names of their tensors."""

import re
from collections.abc import Iterable

from maekit.weights.layouts.registry import layouts

# Of models that no layout reads; those of a layout that come in other wrappings, or with more in them, are in its file.
_MODELS = (
    (r"(teacher|student)\.", "a DINO training state"),
    (r"(.*\.)?layers\.\d+\.attn\.gamma1\.", "a ViT of mmpretrain with LayerScale"),
    (r"(.*\.)?layers\.\d+\.gamma_1", "a BEiT of mmsegmentation (it has LayerScale)"),
    (r"(.*\.)?(dist_token|distillation_token)$", "a DeiT (it has a distillation token)"),
    (r"(.*\.)?patch_embed\.backbone\.", "a hybrid ViT (its patches come from a convolutional network)"),
    (
        r"(.*\.)?embeddings\.patch_embeddings\.backbone\.",
        "a hybrid ViT (its patches come from a convolutional network)",
    ),
    (r"transformer\.layers\.", "a ViT of vit-pytorch"),
    (r"(.*\.)?layers\.\d+\.blocks\.", "a Swin transformer"),
    (r"(.*\.)?blocks\.\d+\.attn\.(pool|norm)_[qkv]\.", "an MViT"),
    (r"(.*\.)?blocks\.\d+\.attn\.(sr|kv)\.|(.*\.)?patch_embed\d\.|(.*\.)?block\d\.\d+\.attn\.", "a PVT"),
    (
        r"(.*\.)?blocks\.\d+\.(attn\.(norm|inner_attn_ln)|mlp\.(norm|ffn_ln))\.",
        "an EVA-02 (it has norms inside, sub-LN)",
    ),
    (r"(.*\.)?blocks\.\d+\.attn\.[qv]_bias$", "an EVA, or another ViT with biases of q and v apart"),
    (r"(.*\.)?blocks\.\d+\.attn\.rel_pos_[hw]$", "a ViT with decomposed positions, such as SAM's"),
    (r"(.*\.)?stages\.\d+\.(.+\.)?(dwconv|conv_dw|depthwise_conv)\.", "a ConvNeXt"),
    (r"(resnet\.)?encoder\.stages\.\d+\.layers\.\d+\.layer\.", "a ResNet"),
    (r"(module\.|backbone\.)?layer\d\.\d+\.conv\d\.", "a ResNet"),
    (r"(.*\.)?stages\.\d+\.", "a network in stages, whose maps shrink"),
)


def seems(names: Iterable[str]) -> str:
    """Returns `; the file seems to hold a ResNet` if the names are those of a known foreign model, else nothing."""
    names = list(names)
    known = (*(pair for layout in layouts().values() for pair in layout.foreign), *_MODELS)
    found = next((what for pattern, what in known if any(re.match(pattern, name) for name in names)), None)
    return f"; the file seems to hold {found}" if found else ""
