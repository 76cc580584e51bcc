"""The image tower of transformers' SiglipModel and SiglipVisionModel; text and the pooling by attention are beside.

Source: huggingface/transformers models/siglip/modeling_siglip.py (5.24); arXiv 2303.15343.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.authors.clip import batched
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.hugging_face.clip import IN_LAYER, ONCE, PATCHES, part
from maekit.weights.layouts.layout import Layout, Said, Tensors
from maekit.weights.read.wrappers import unwrap

NAMES = Dialect(layers=("encoder.layers",), in_layer=IN_LAYER, once=ONCE)


def _part(name: str) -> str:
    pooled = name.startswith(("head.", "vision_model.head."))
    return "pooling by attention" if pooled else part(name)


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return batched(joined(unwrap(path, tensors, prefix, lambda name, inside: NAMES.ours(name) if inside else None)))


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    flat = "embeddings.position_embedding.weight"
    written = NAMES.written(tensors)
    return {f"vision_model.{name}": tensor[0] if name == flat else tensor for name, tensor in written.items()}


def _config(_size: Size, _tensors: Tensors) -> dict[str, object]:
    return {
        "architectures": ["SiglipVisionModel"],
        "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh",
        "vision_use_head": False,
    }


LAYOUT = Layout(
    name="transformers-siglip",
    words="Hugging Face transformers' SigLIP",
    recognise=lambda contents, prefix: (
        f"{prefix}embeddings.patch_embedding.bias" in contents.tensors
        and f"{prefix}embeddings.class_embedding" not in contents.tensors
    ),
    to_ours=_to_ours,
    patches=PATCHES,
    part=_part,
    says=lambda _contents, _ours: Said(pretraining="siglip", variant="siglip"),
    writes="hf",
    from_ours=_from_ours,
    holds=lambda size: size.mlp == "gelu_tanh" and not size.class_token and size.positions == "learned",
    config=_config,
)
