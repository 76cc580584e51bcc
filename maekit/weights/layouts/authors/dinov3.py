"""Files of facebookresearch/dinov3: released backbones, and teachers of its training.

A file has `storage_tokens`, a bias of q, k and v whose keys' part a `bias_mask` takes out, and the periods of its
rotary positions, which are computed here. A `local_cls_norm` served the training alone. Of a training's checkpoint the
teacher is meant (`teacher.backbone.*`), as in its evaluations (dinov3/eval/setup.py).
Source: facebookresearch/dinov3 @ 6876159 dinov3/models/vision_transformer.py, layers/{attention,ffn_layers,
rope_position_encoding}.py, hub/backbones.py.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.backbone.sizes import load_size
from maekit.errors import UserError
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import MASK, PATCHES, Contents, Layout, Said, Tensors
from maekit.weights.layouts.rotary import with_biases
from maekit.weights.read.wrappers import unwrap

NAMES = Dialect(
    layers=("blocks",),
    in_layer=(
        ("ls1.gamma", "gamma_1"),
        ("ls2.gamma", "gamma_2"),
        ("mlp.w1", "mlp.gate"),
        ("mlp.w2", "mlp.value"),
        ("mlp.w3", "mlp.fc2"),
    ),
    once=(("storage_tokens", "reg_token"), ("mask_token", MASK)),
)
_PERIODS = "rope_embed.periods"


def _recognise(contents: Contents, prefix: str) -> bool:
    marks = ("storage_tokens", _PERIODS, "blocks.0.attn.qkv.bias_mask")
    return any(f"{prefix}{name}" in contents.tensors for name in marks)


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    named = unwrap(path, tensors, prefix, lambda name, inside: (NAMES.ours(name) or name) if inside else None)
    _check_periods(path, named)
    ours = {name: tensor for name, tensor in named.items() if name != _PERIODS and not name.endswith(".bias_mask")}
    for name in ours:
        if (mask := named.get(f"{name}_mask")) is not None:
            ours[name] = ours[name] * mask.to(ours[name].dtype)
    if MASK in ours and ours[MASK].ndim == 2:
        ours[MASK] = ours[MASK][None]
    return with_biases(joined(ours))


def _check_periods(path: Path, named: Mapping[str, Tensor]) -> None:
    """Refuses periods other than those that are computed for DINOv3, of which a file is the only witness."""
    periods = named.get(_PERIODS)
    if periods is None or periods.is_meta:
        return
    base = load_size("vit_base_patch16_dinov3").rotary_base
    computed = base ** (torch.arange(len(periods)) / len(periods))
    if not torch.allclose(periods.float(), computed, rtol=1e-2):
        got = f"{float(periods[0]):.3g} to {float(periods[-1]):.3g}"
        raise UserError(
            f"{path} has rotary positions of the periods {got}, expected {float(computed[0]):.3g} to "
            f"{float(computed[-1]):.3g} (base {base:g}): it is of another ViT than DINOv3's, which is not known here"
        )


def _says(contents: Contents, _ours: Tensors) -> Said:
    periods = next((tensor for name, tensor in contents.tensors.items() if name.endswith(_PERIODS)), None)
    width = next((len(tensor) for name, tensor in contents.tensors.items() if name.endswith(PATCHES)), 0)
    heads = None if periods is None else width // (4 * len(periods))  # a period for each quarter of a head's width
    return Said(pretraining="dinov3", variant="dinov3", num_heads=heads)


LAYOUT = Layout(
    name="dinov3",
    words="facebookresearch/dinov3",
    recognise=_recognise,
    to_ours=_to_ours,
    beside=(MASK, "local_cls_norm.*", "dino_head.*", "ibot_head.*"),
    says=_says,
)
