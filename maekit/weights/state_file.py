"""What a file of weights holds: its layout, its names, its size."""

import math
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from maekit.backbone.sizes import all_sizes
from maekit.errors import UserError
from maekit.weights.report import Grid
from maekit.weights.safe_load import load_file

_RENAMED = (("fc_norm.", "head.fc_norm."), ("head.weight", "head.fc.weight"), ("head.bias", "head.fc.bias"))
_NOT_META = {"state_dict", "model", "optimizer", "scaler", "optimizer_states", "lr_schedulers", "callbacks", "loops"}
_SIGNS = (
    (r"(teacher|student)\.", "a DINO training state"),
    (r"(module\.)?(base_encoder|momentum_encoder|encoder_q)\.", "a MoCo training state"),
    (r"blocks\.\d+\.ls1\.gamma", "a DINOv2 ViT (it has LayerScale)"),
    (r"blocks\.\d+\.gamma_1", "a BEiT (it has LayerScale)"),
    (r"visual\.", "a CLIP model"),
    (r"(vision_model|text_model)\.", "a CLIP or SigLIP of transformers"),
    (r"vit\.embeddings\.", "a ViT or ViTMAE of transformers"),
    (r"backbone\.layers\.\d+\.ln1\.", "a ViT of mmpretrain"),
    (r"backbone\.net\.", "a ViTDet of detectron2"),
    (r"transformer\.layers\.", "a ViT of vit-pytorch"),
    (r"layers\.\d+\.blocks\.", "a Swin transformer"),
    (r"stages\.", "a ConvNeXt"),
    (r"(module\.|backbone\.)?layer\d\.\d+\.conv\d\.", "a ResNet"),
)


@dataclass(frozen=True)
class StateFile:
    """The tensors of a weights file under their MAE/timm names, whatever wrapped them.

    Attributes:
        layout: `mae_pretrain` (encoder alone), `mae_full` (with decoder), `mae_finetuned` (with classifier),
            `maekit` (a checkpoint of a run) or `unknown` (no ViT blocks by these names).
        tensors: by name: `cls_token`, `blocks.0.attn.qkv.weight`, `fc_norm.weight`, `head.weight`, ...
        meta: what the file says beside them (epoch, arguments, class names), without optimizer state.
    """

    layout: str
    tensors: dict[str, Tensor]
    meta: dict[str, object]


class Shape(NamedTuple):
    """The size of a ViT as its tensors show it; None where they do not."""

    embed_dim: int | None
    num_blocks: int
    patch_size: int | None

    def __str__(self) -> str:
        facts = f"{self.embed_dim} wide, {self.num_blocks} blocks, {self.patch_size} px patches"
        return f"{self.name} ({facts})" if self.name else f"a ViT of another kind ({facts})"

    @property
    def name(self) -> str | None:
        """The known size it is, such as vit_base_patch16."""
        return next((s.name for s in all_sizes().values() if (s.embed_dim, s.num_blocks, s.patch_size) == self), None)


def read_state(path: str | Path) -> StateFile:
    """Reads a file of facebookresearch/mae, a bare state dict (torch or safetensors) or a maekit checkpoint.

    Raises:
        UserError: as `load_file`, or nothing in the file is a tensor by name.
    """
    contents = load_file(path)
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds a {type(contents).__name__}, expected a dict of tensors; save a state_dict()")
    inner = next((contents[key] for key in ("state_dict", "model") if isinstance(contents.get(key), Mapping)), contents)
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(contents)[:5])) or "nothing"
        raise UserError(
            f"{path} holds {keys}, expected tensors by name, alone or under 'model'; save a state_dict()"
            f"{seems(f'{key}.' for key in contents)}"
        )
    meta = {str(key): value for key, value in contents.items() if key not in _NOT_META and key not in tensors}
    if isinstance(arguments := meta.get("args"), Namespace):
        meta["args"] = vars(arguments)
    if any(name.startswith("model.backbone.") for name in tensors):
        ours = {name: t for name, t in tensors.items() if name.startswith(("model.backbone.", "model.head."))}
        return StateFile("maekit", {_from_maekit(name): tensor for name, tensor in ours.items()}, meta)
    return StateFile(_layout(tensors), tensors, meta)


def _layout(names: Iterable[str]) -> str:
    names = set(names)
    if "blocks.0.attn.qkv.weight" not in names:
        return "unknown"
    if "decoder_pred.weight" in names:
        return "mae_full"
    return "mae_finetuned" if "head.weight" in names else "mae_pretrain"


def model_name(name: str) -> str:
    """The name in a maekit model, without `backbone.`, of a tensor of a released file."""
    return next((new + name[len(old) :] for old, new in _RENAMED if name.startswith(old)), name)


def _from_maekit(name: str) -> str:
    name = name.removeprefix("model.").removeprefix("backbone.")
    return next((old + name[len(new) :] for old, new in _RENAMED if name.startswith(new)), name)


def stored_grid(state: StateFile, num_positions: int) -> Grid | None:
    """The patch grid (h, w) of a file's position table: of a run's image size if it says it, else the square one."""
    card = state.meta.get("maekit")
    patch_size = measure(state.tensors).patch_size
    if isinstance(card, dict) and "image_size" in card and patch_size:
        height, width = (pixels // patch_size for pixels in card["image_size"])
        if height * width == num_positions:
            return height, width
    side = math.isqrt(num_positions)
    return (side, side) if side * side == num_positions else None


def measure(tensors: Mapping[str, Tensor]) -> Shape:
    """Reads a ViT's size off its tensors (names without prefix)."""
    patches = tensors.get("patch_embed.proj.weight")
    blocks = {match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}
    if patches is None or patches.ndim != 4:
        return Shape(None, len(blocks), None)
    return Shape(patches.shape[0], len(blocks), patches.shape[-1])


def seems(names: Iterable[str]) -> str:
    """Says `; the file seems to hold a ResNet` where names give a known foreign model away, else nothing."""
    names = list(names)
    found = next((what for sign, what in _SIGNS if any(re.match(sign, name) for name in names)), None)
    return f"; the file seems to hold {found}" if found else ""
