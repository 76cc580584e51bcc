"""Checkpoints of facebookresearch/moco-v3: ViTs pre-trained by contrast of two views, and linear probes on them.

A pre-training has two encoders with timm's names, `module.base_encoder.*` and `module.momentum_encoder.*`, each with a
projector of three layers as its `head`, and `module.predictor.*` beside them. Its own linear probe and its conversion
for fine-tuning take the base encoder without the projector, so that one is read unless FILE#KEY names the other. A
probe is `module.*` with a classifier on the class token. ViT-Small (384 wide) has 12 attention heads too.
Source: facebookresearch/moco-v3 @ c349e6e moco/builder.py, vits.py, main_moco.py, main_lincls.py, convert_to_deit.py.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.layout import PATCHES, Contents, Layout, Metadata, Said
from maekit.weights.read.wrappers import unwrap

_BASE, _MOMENTUM = "module.base_encoder", "module.momentum_encoder"
_NUM_HEADS = {"vit_small": 12, "vit_base": 12}  # by `arch`


def _recognise(contents: Contents, prefix: str) -> bool:
    if prefix == "module.":  # a linear probe
        return {"arch", "best_acc1"} <= contents.metadata.keys() and _num_heads(contents.metadata) is not None
    chosen = contents.key.endswith((_BASE, _MOMENTUM)) and not prefix
    return chosen or (prefix == f"{_BASE}." and prefix + PATCHES in contents.tensors)


def _num_heads(metadata: Metadata) -> int | None:
    return _NUM_HEADS.get(str(metadata.get("arch")))


def _part(name: str) -> str:
    other = (_MOMENTUM, "module.predictor")
    return next((part for part in other if name.startswith(f"{part}.")), "")


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    def rename(name: str, _inside: bool) -> str:
        numbered = name.startswith("head.") and name.split(".")[1].isdecimal()
        return name.replace("head.", "projector.", 1) if numbered else name

    return unwrap(path, tensors, prefix, rename)


LAYOUT = Layout(
    name="moco-v3",
    words="facebookresearch/moco-v3",
    recognise=_recognise,
    to_ours=_to_ours,
    encoder=f"{_BASE}.",
    part=_part,
    beside=("projector.*",),
    num_heads=_num_heads,
    says=lambda _contents, _ours: Said(pretraining="moco_v3"),
    foreign=(
        (r"(module\.)?base_encoder\.patch_embed\.proj\.0\.", "a MoCo v3 ViT whose patches come from convolutions"),
        (r"(module\.)?(base_encoder|momentum_encoder|encoder_q)\.", "a MoCo training state"),
    ),
)
