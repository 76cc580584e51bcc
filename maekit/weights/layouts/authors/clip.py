"""The image tower of CLIP, `visual.*`, as openai/CLIP and mlfoundations/open_clip name it; text and projection beside.

OpenAI's own networks have QuickGELU and their files are TorchScript programs in half precision; those that open_clip
trained have the exact GELU, but where the name of a model says `quickgelu`. No tensor shows which it is: a program's
numbers (`input_resolution`), half precision or a configuration do, else GELU is taken and said.
Source: openai/CLIP @ 0845fc4 clip/model.py; mlfoundations/open_clip src/open_clip/{transformer,model}.py.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.system.plain import table
from maekit.weights.layouts.dialect import Dialect
from maekit.weights.layouts.layout import Contents, Layout, Said, Tensors
from maekit.weights.read.wrappers import unwrap

PATCHES = "visual.conv1.weight"
NAMES = Dialect(
    layers=("visual.transformer.resblocks",),
    in_layer=(
        ("ln_1", "norm1"),
        ("attn.in_proj_weight", "attn.qkv.weight"),
        ("attn.in_proj_bias", "attn.qkv.bias"),
        ("attn.out_proj", "attn.proj"),
        ("ln_2", "norm2"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ),
    once=(
        ("visual.class_embedding", "cls_token"),
        ("visual.positional_embedding", "pos_embed"),
        ("visual.conv1", "patch_embed.proj"),
        ("visual.ln_pre", "norm_pre"),
        ("visual.ln_post", "norm"),
    ),
)
_TOWER = re.compile(r"((module|model)\.)*visual\.(.+)")
_ASSUMED = "GELU, as open_clip's own models have: nothing beside the tensors says whether it is QuickGELU"


def _recognise(contents: Contents, prefix: str) -> bool:
    names = contents.tensors
    return f"{prefix}visual.transformer.resblocks.0.ln_1.weight" in names and f"{prefix}visual.ln_pre.weight" in names


def _part(name: str) -> str:
    tower = _TOWER.fullmatch(name)
    if tower is None:
        return "text tower"
    return "projection" if tower[3] == "proj" else ""


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return batched(unwrap(path, tensors, prefix, lambda name, inside: NAMES.ours(name) if inside else None))


def batched(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives a class token [D] and positions [N, D] the axes before them that they have in our names."""
    axes = {"cls_token": 3, "pos_embed": 3}
    return {name: t[(None,) * max(axes.get(name, 0) - t.ndim, 0)] for name, t in named.items()}


def _says(contents: Contents, ours: Tensors) -> Said:
    quick = table(contents.metadata.get("open_clip")).get("quick_gelu")
    filters = ours.get("patch_embed.proj.weight")
    if quick is None and "open_clip" in contents.metadata:
        quick = False
    if quick is None and any(name.endswith("input_resolution") for name in contents.tensors):
        quick = True
    if quick is None and filters is not None and filters.dtype == torch.float16:
        quick = True
    notes = (_ASSUMED,) if quick is None else ()
    return Said(pretraining="clip", variant="clip_quickgelu" if quick else "clip", notes=notes)


LAYOUT = Layout(
    name="clip",
    words="CLIP's image tower",
    recognise=_recognise,
    to_ours=_to_ours,
    patches=PATCHES,
    part=_part,
    says=_says,
    foreign=(
        (r"((module|model)\.)*visual\.(bn1|layer1|attnpool|stem)\.", "a CLIP whose image tower is a ResNet"),
        (r"((module|model)\.)*visual\.trunk\.", "a CLIP around a network of timm (name it FILE#visual.trunk)"),
        (r"((module|model)\.)*visual\.blocks\.", "a CLIP around an EVA"),
        (r"((module|model)\.)*visual\.", "a CLIP model"),
    ),
)
