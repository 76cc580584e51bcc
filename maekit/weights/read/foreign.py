"""Other people's models, told by the names of their tensors."""

import re
from collections.abc import Iterable

_SIGNS = (
    (r"(teacher|student)\.", "a DINO training state"),
    (r"(module\.)?(base_encoder|momentum_encoder|encoder_q)\.", "a MoCo training state"),
    (r"blocks\.\d+\.ls1\.gamma", "a DINOv2 ViT (it has LayerScale)"),
    (r"(.*\.)?layer\.\d+\.layer_scale\d\.", "a DINOv2 of transformers (it has LayerScale)"),
    (r"blocks\.\d+\.gamma_1", "a BEiT (it has LayerScale)"),
    (r"(.*\.)?layer\.\d+\.lambda_1", "a BEiT of transformers (it has LayerScale)"),
    (r"(.*\.)?layers\.\d+\.attn\.gamma1\.", "a ViT of mmpretrain with LayerScale"),
    (r"(.*\.)?layers\.\d+\.gamma_1", "a BEiT of mmsegmentation (it has LayerScale)"),
    (r"(.*\.)?(dist_token|distillation_token)$", "a DeiT (it has a distillation token)"),
    (r"visual\.", "a CLIP model"),
    (r"(vision_model|text_model|pre_layrnorm)\.", "a CLIP or SigLIP of transformers"),
    (r"vit\.embeddings\.", "a ViT or ViTMAE of transformers"),
    (r"backbone\.layers\.\d+\.ln1\.", "a ViT of mmpretrain"),
    (r"backbone\.(net|simfp_\d+)\.", "a ViTDet of detectron2"),
    (r"transformer\.layers\.", "a ViT of vit-pytorch"),
    (r"(swin\.)?(encoder\.)?layers\.\d+\.blocks\.", "a Swin transformer"),
    (r"stages\.|(convnext\.)?encoder\.stages\.\d+\.layers\.\d+\.dwconv\.", "a ConvNeXt"),
    (r"(resnet\.)?encoder\.stages\.\d+\.layers\.\d+\.layer\.", "a ResNet"),
    (r"(module\.|backbone\.)?layer\d\.\d+\.conv\d\.", "a ResNet"),
)


def seems(names: Iterable[str]) -> str:
    """Says `; the file seems to hold a ResNet` where names give a known foreign model away, else nothing."""
    names = list(names)
    found = next((what for sign, what in _SIGNS if any(re.match(sign, name) for name in names)), None)
    return f"; the file seems to hold {found}" if found else ""
