"""Names of detectron2's ViTDet: Mask R-CNN on a plain ViT, as released (`.pkl`) and as trained (`.pth`)."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.weights.layouts.layout import Contents, Layout, is_plain
from maekit.weights.read.shorten import some
from maekit.weights.read.wrappers import unwrap

_TABLE = re.compile(r"(blocks\.\d+\.attn)\.(rel_pos_[hw])")
_OUR_TABLE = re.compile(r"(blocks\.\d+\.attn)\.position\.(rel_pos_[hw])")
_DETECTOR = ("proposal_generator.", "roi_heads.")


def _recognise(contents: Contents, prefix: str) -> bool:
    """Whether a pyramid stands beside the encoder, or its blocks have tables of relative positions."""
    stem = prefix.removesuffix("net.")
    starts = (f"{stem}simfp_", f"{prefix}blocks.0.attn.rel_pos_")
    return stem != prefix and any(name.startswith(starts) for name in contents.tensors)


def from_detectron2(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Renames a checkpoint's tensors to those of maekit's own model: `head.pyramid.*` and `head.detector.*`.

    Its position table has a row for a class token that its ViT does not have; the row is left out.
    Source: facebookresearch/detectron2 modeling/backbone/vit.py (ViT, SimpleFeaturePyramid), meta_arch/rcnn.py.
    """
    named = unwrap(path, tensors, prefix, _ours)
    if (table := named.get("pos_embed")) is not None and table.ndim == 3 and not _square(table.shape[1]):
        named["pos_embed"] = table[:, 1:] if _square(table.shape[1] - 1) else table
    return named


def to_detectron2(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the names of `from_detectron2` back, and the class token's row of the position table, as zeros.

    Raises:
        UserError: the file at `path`, whose tensors they are, has what detectron2's ViTDet has no name for.
    """
    if foreign := [name for name in tensors if detectron2_name(name) is None]:
        raise UserError(
            f"{path} has {len(foreign)} tensors that detectron2's ViTDet has no place for: {some(foreign, 4)}; only "
            "detectors with its simple pyramid can be written for it"
        )
    named = {theirs: tensor for name, tensor in tensors.items() if (theirs := detectron2_name(name))}
    table = named["backbone.net.pos_embed"]
    named["backbone.net.pos_embed"] = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)
    return named


def detectron2_name(name: str) -> str | None:
    """detectron2's name of one of maekit's, given without `backbone.`; None where it has none."""
    if name.startswith("head.pyramid.simfp_"):
        return f"backbone.{name.removeprefix('head.pyramid.')}"
    if name.startswith("head.detector."):
        return name.removeprefix("head.detector.")
    if name == "pos_embed" or name.startswith(("patch_embed.", "blocks.")):
        return "backbone.net." + _OUR_TABLE.sub(r"\1.\2", name)
    return None


def _ours(name: str, inside: bool) -> str | None:
    if inside:
        return _TABLE.sub(r"\1.position.\2", name)
    if name.startswith("simfp_"):
        return f"head.pyramid.{name}"
    return f"head.detector.{name}" if name.startswith(_DETECTOR) else None


def _square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


LAYOUT = Layout(
    name="detectron2",
    words="detectron2",
    recognise=_recognise,
    to_ours=from_detectron2,
    beside=("*.anchor_generator.cell_anchors.*", "pixel_mean", "pixel_std"),  # which maekit computes
    foreign=((r"backbone\.(net|simfp_\d+)\.", "a ViTDet of detectron2"),),
    writes="detectron2",
    holds=is_plain,
    from_ours=to_detectron2,
)
