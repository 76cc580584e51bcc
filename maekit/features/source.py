"""The weights that features come from, and how the images they were trained on looked."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from maekit.backbone.vit import ViT
from maekit.data.images.transforms import EvalTransform
from maekit.weights.chosen import split_key
from maekit.weights.get.find import find_weights, is_released
from maekit.weights.load.assumed import assumed_heads
from maekit.weights.load.backbone import load_backbone
from maekit.weights.read.metadata import model_settings, normalisation, said_input
from maekit.weights.read.shape import measure
from maekit.weights.state.state_file import StateFile, read_state, stored_grid

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
        mean_pooled: whether the file was fine-tuned on the mean of the patch tokens, so that its class token is not
            trained and has no final norm.
        assumed: what is taken for granted because the file does not say it, a line each.
    """

    given: str
    path: Path
    input: dict[str, Any]
    mean_pooled: bool = False
    assumed: tuple[str, ...] = ()

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
    given = str(path.absolute()) if Path(split_key(weights)[0]).expanduser().exists() else weights
    state = read_state(path)
    input, unsaid = _input(state)
    assumed = [] if is_released(given) else [*unsaid, *assumed_heads(state)]
    lines = tuple(f"assumed: {one}: {weights} does not say" for one in assumed)
    return Source(given, path, input, _mean_pooled(state), lines)


def fingerprint(vit: ViT) -> str:
    """Returns 24 hex digits of the weights' bytes; the same encoder has the same ones in whatever file it lies."""
    digest = blake2b(digest_size=12)
    for name, tensor in vit.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _mean_pooled(state: StateFile) -> bool:
    on_mean = state.kind == "linear_probe" and model_settings(state.meta).get("pooling") == "mean"
    return on_mean or (state.kind in ("classifier_mean", "encoder") and "norm.weight" not in state.tensors)


def _input(state: StateFile) -> tuple[dict[str, Any], list[str]]:
    """What a card or a configuration says of each number, else ImageNet's, and the size the positions are stored for.

    Also what of it is ImageNet's because the file does not say it.
    """
    colours = normalisation(state.meta)
    said = {**said_input(state.meta), **({"mean": colours[0], "std": colours[1]} if colours else {})}
    known = {key: said[key] for key in (*IMAGENET, "white", "clip") if key in said}
    words = {"mean": "mean", "std": "standard deviation", "crop_fraction": "crop of 0.875"}
    if not isinstance(known.get("image_size"), int):
        known |= {"image_size": size} if (size := _stored_size(state)) else {}
        words["image_size"] = "size of 224 px"
    if state.layout == "transformers" and "mean" in said and "crop_fraction" not in known:
        words["crop_fraction"] += " (its processor squeezes images into a square instead)"
    unsaid = [word for key, word in words.items() if key not in known]
    return {**IMAGENET, **known}, [f"images prepared with ImageNet's {', '.join(unsaid)}"] if unsaid else []


def _stored_size(state: StateFile) -> int | None:
    table, patch_size = state.tensors.get("pos_embed"), measure(state.tensors).patch_size
    if table is None or table.ndim != 3 or patch_size is None:
        return None
    grid = stored_grid(state, table.shape[1] - int("cls_token" in state.tensors))
    return grid[0] * patch_size if grid and grid[0] == grid[1] else None
