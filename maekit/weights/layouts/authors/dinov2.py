"""Files of facebookresearch/dinov2: released backbones with and without registers, and teachers of its training.

Registers are `register_tokens`; the fused SwiGLU of ViT-g is `mlp.w12` (gate, then value) and `mlp.w3`; a training
shards its blocks in chunks, `blocks.1.7.*`, whose second number counts all blocks. Its checkpoint
`teacher_checkpoint.pth` is the teacher, with the heads of DINO and iBOT beside it.
Source: facebookresearch/dinov2 @ b8931f7 dinov2/models/vision_transformer.py, layers/{block,swiglu_ffn}.py,
train/ssl_meta_arch.py, train/train.py (do_test).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.dialect import Dialect
from maekit.weights.layouts.layout import MASK, Contents, Layout, Said
from maekit.weights.read.wrappers import unwrap

NAMES = Dialect(
    layers=("blocks",),
    in_layer=(
        ("ls1.gamma", "gamma_1"),
        ("ls2.gamma", "gamma_2"),
        ("mlp.w12", "mlp.fc1"),
        ("mlp.w3", "mlp.fc2"),
    ),
    once=(("register_tokens", "reg_token"), ("mask_token", MASK)),
)
_CHUNK = re.compile(r"blocks\.\d+\.(\d+)\.")


def _recognise(contents: Contents, prefix: str) -> bool:
    names = {name.removeprefix(prefix) for name in contents.tensors if name.startswith(prefix)}
    first = [_unchunked(name) for name in names if name.startswith("blocks.0.")]
    if "storage_tokens" in names or "rope_embed.periods" in names or "blocks.0.ls1.gamma" not in first:
        return False
    heads = any("dino_head." in name for name in contents.tensors)
    own = "register_tokens" in names or "mask_token" in names or "blocks.0.mlp.w12.weight" in first
    return own or heads or "blocks.0.ls1.gamma" not in names


def _unchunked(name: str) -> str:
    return _CHUNK.sub(r"blocks.\1.", name, count=1)


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    def rename(name: str, inside: bool) -> str | None:
        name = _unchunked(name)
        return (NAMES.ours(name) or name) if inside else None

    named = unwrap(path, tensors, prefix, rename)
    return {name: tensor[None] if name == MASK and tensor.ndim == 2 else tensor for name, tensor in named.items()}


LAYOUT = Layout(
    name="dinov2",
    words="facebookresearch/dinov2",
    recognise=_recognise,
    to_ours=_to_ours,
    beside=(MASK, "dino_head.*", "ibot_head.*"),
    says=lambda _contents, _ours: Said(pretraining="dinov2", variant="dinov2"),
)
