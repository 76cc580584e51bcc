"""Training states of facebookresearch/dino: a student and its teacher, each a ViT with DINO's head.

The teacher is meant, as in its evaluations (`--checkpoint_key teacher`); FILE#student names the other. Its released
backbones alone have timm's names and nothing more, and come through those.
Source: facebookresearch/dino @ 7c446df main_dino.py, utils.py (load_pretrained_weights), eval_knn.py, eval_linear.py,
vision_transformer.py (DINOHead).
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.layout import Contents, Layout, Said
from maekit.weights.read.wrappers import unwrap


def _recognise(contents: Contents, prefix: str) -> bool:
    head = f"{prefix.removesuffix('backbone.')}head.last_layer."
    return prefix.endswith("backbone.") and any(name.startswith(head) for name in contents.tensors)


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    def rename(name: str, inside: bool) -> str | None:
        if inside:
            return name
        return name.replace("head.", "dino_head.", 1) if name.startswith("head.") else None

    return unwrap(path, tensors, prefix, rename)


LAYOUT = Layout(
    name="dino",
    words="facebookresearch/dino",
    recognise=_recognise,
    to_ours=_to_ours,
    meant=("teacher", "student"),
    beside=("dino_head.*",),
    says=lambda _contents, _ours: Said(pretraining="dino", variant=""),
)
