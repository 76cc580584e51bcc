"""Models that are no plain ViT, recognised by the names of their tensors."""

import re
from collections.abc import Iterable

from maekit.weights.layouts.registry import layouts

# Of models that no layout reads; those of a layout that come in other wrappings, or with more in them, are in its file.
_MODELS = (
    (r"(teacher|student)\.", "a DINO training state"),
    (r"(.*\.)?layer\.\d+\.lambda_1", "a BEiT of transformers (it has LayerScale)"),
    (r"(.*\.)?layers\.\d+\.attn\.gamma1\.", "a ViT of mmpretrain with LayerScale"),
    (r"(.*\.)?layers\.\d+\.gamma_1", "a BEiT of mmsegmentation (it has LayerScale)"),
    (r"(.*\.)?(dist_token|distillation_token)$", "a DeiT (it has a distillation token)"),
    (r"visual\.", "a CLIP model"),
    (r"(vision_model|text_model|pre_layrnorm)\.", "a CLIP or SigLIP of transformers"),
    (r"transformer\.layers\.", "a ViT of vit-pytorch"),
    (r"(swin\.)?(encoder\.)?layers\.\d+\.blocks\.", "a Swin transformer"),
    (r"stages\.|(convnext\.)?encoder\.stages\.\d+\.layers\.\d+\.dwconv\.", "a ConvNeXt"),
    (r"(resnet\.)?encoder\.stages\.\d+\.layers\.\d+\.layer\.", "a ResNet"),
    (r"(module\.|backbone\.)?layer\d\.\d+\.conv\d\.", "a ResNet"),
)


def seems(names: Iterable[str]) -> str:
    """Returns `; the file seems to hold a ResNet` if the names are those of a known foreign model, else nothing."""
    names = list(names)
    known = (*_MODELS, *(pair for layout in layouts().values() for pair in layout.foreign))
    found = next((what for pattern, what in known if any(re.match(pattern, name) for name in names)), None)
    return f"; the file seems to hold {found}" if found else ""
