"""The weights that features come from, and how the images they were trained on looked."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from maekit.backbone.vit import ViT
from maekit.data.transforms import EvalTransform
from maekit.weights.extract import load_backbone
from maekit.weights.find import find_weights
from maekit.weights.state_file import StateFile, measure, read_state, stored_grid

# What facebookresearch/mae @ efb2a80 evaluates ImageNet with (main_finetune.py, util/datasets.py).
IMAGENET: dict[str, Any] = {
    "image_size": 224,
    "crop_fraction": 0.875,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


@dataclass(frozen=True)
class Source:
    """A file of weights.

    Attributes:
        given: what a user called it: a published name, or the file's absolute path.
        path: the file.
        input: the arguments of its `EvalTransform`: the card's of a maekit checkpoint, else ImageNet's at the size of
            the file's position table.
    """

    given: str
    path: Path
    input: dict[str, Any]

    def transform(self, image_size: int | None = None, crop_fraction: float | None = None) -> EvalTransform:
        """Returns the evaluation transform, with another size or crop where they are given."""
        wanted = {"image_size": image_size, "crop_fraction": crop_fraction}
        return EvalTransform(**{**self.input, **{key: value for key, value in wanted.items() if value is not None}})

    def load(self, image_size: int | tuple[int, int]) -> ViT:
        """Returns the backbone in evaluation mode, its positions at an image size (height, width) in pixels."""
        return load_backbone(self.path, image_size=image_size)


def find_source(weights: str) -> Source:
    """Finds weights, and downloads what has a name.

    Args:
        weights: a file, the folder of a run (its best.ckpt, else last.ckpt) or of transformers, or a name that
            `find_weights` knows.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    path = find_weights(weights)
    path = next((path / name for name in ("best.ckpt", "last.ckpt") if (path / name).is_file()), path)
    given = str(path.absolute()) if Path(weights).expanduser().exists() else weights
    return Source(given, path, _input(read_state(path)))


def fingerprint(vit: ViT) -> str:
    """Returns 24 hex digits of the weights' bytes; the same encoder has the same ones in whatever file it lies."""
    digest = blake2b(digest_size=12)
    for name, tensor in vit.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _input(state: StateFile) -> dict[str, Any]:
    """What the card says of each number; for the rest ImageNet's, and the size that the positions are stored for."""
    card = state.meta.get("maekit")
    said = card.get("input") if isinstance(card, Mapping) else None
    known = {key: said[key] for key in IMAGENET if key in said} if isinstance(said, Mapping) else {}
    if not isinstance(known.get("image_size"), int):
        known["image_size"] = _stored_size(state)
    return {**IMAGENET, **known}


def _stored_size(state: StateFile) -> int:
    table, patch_size = state.tensors.get("pos_embed"), measure(state.tensors).patch_size
    if table is None or table.ndim != 3 or patch_size is None:
        return int(IMAGENET["image_size"])
    grid = stored_grid(state, table.shape[1] - int("cls_token" in state.tensors))
    return grid[0] * patch_size if grid and grid[0] == grid[1] else int(IMAGENET["image_size"])
