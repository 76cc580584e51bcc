"""The weights that features come from, and how the images they were trained on looked."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import cast

import torch

from maekit.backbone.protocol import Backbone
from maekit.data.images.bands.facts import bands_of
from maekit.data.images.transforms import EvalInput, EvalTransform
from maekit.system.size import HeightWidth
from maekit.weights.chosen import split_key
from maekit.weights.get.find import find_weights, official_of
from maekit.weights.load.assumed import assumed_heads
from maekit.weights.load.backbone import load_backbone
from maekit.weights.read.bands import RGB, file_bands, require_readable
from maekit.weights.read.metadata import model_settings, normalisation, recorded_input
from maekit.weights.state.state_file import StateFile, read_state, stored_grid

# What facebookresearch/mae @ efb2a80 evaluates ImageNet with (main_finetune.py, util/datasets.py).
IMAGENET: EvalInput = {
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
    input: EvalInput
    mean_pooled: bool = False
    assumed: tuple[str, ...] = ()

    def transform(self, image_size: int | None = None, crop_fraction: float | None = None) -> EvalTransform:
        """Returns the evaluation transform, with another size or crop where they are given."""
        input = self.input.copy()
        if image_size is not None:
            input["image_size"] = image_size
        if crop_fraction is not None:
            input["crop_fraction"] = crop_fraction
        return EvalTransform(**input)

    def load(self, image_size: int | HeightWidth) -> Backbone:
        """Returns the backbone in evaluation mode for an image size in pixels (an int: the side of a square)."""
        return load_backbone(self.path, image_size=image_size)


def find_source(weights: str, *, whole: bool = False) -> Source:
    """Finds weights, and downloads what has a name.

    Args:
        weights: a file, the folder of a run (its best.ckpt, else last.ckpt) or of transformers, or a name that
            `find_weights` knows.
        whole: images are used as a whole, so that no crop of them is assumed.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    path = find_weights(weights)
    given = str(path.absolute()) if Path(split_key(weights)[0]).expanduser().exists() else weights
    state = read_state(path)
    require_readable(state.tensors, state.meta, weights)
    input, unsaid = _input(state, whole)
    assumed = [] if official_of(given) else [*unsaid, *assumed_heads(state)]
    lines = tuple(f"assumed: {one}: {weights} does not say" for one in assumed)
    return Source(given, path, input, _mean_pooled(state), lines)


def fingerprint(backbone: Backbone) -> str:
    """Returns 24 hex digits of the weights' bytes; the same encoder has the same ones in whatever file it lies."""
    digest = blake2b(digest_size=12)
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _mean_pooled(state: StateFile) -> bool:
    on_mean = state.kind == "linear_probe" and model_settings(state.meta).get("pooling") == "mean"
    return on_mean or (state.kind in ("classifier_mean", "encoder") and "norm.weight" not in state.tensors)


def _input(state: StateFile, whole: bool) -> tuple[EvalInput, list[str]]:
    """Returns the arguments of the evaluation transform, and what of it is assumed, in words.

    Each comes from a card or a configuration, the size else from the position table, and the rest from ImageNet's
    evaluation.
    """
    colours, given = normalisation(state.meta), recorded_input(state.meta)
    if colours and _is_reversed(state):
        colours = colours[0][::-1], colours[1][::-1]
    input, unknown = IMAGENET.copy(), []
    if colours:
        input["mean"], input["std"] = colours
    else:
        unknown += ["mean", "standard deviation"]
    fraction, size = given.get("crop_fraction"), given.get("image_size")
    if isinstance(fraction, int | float):
        input["crop_fraction"] = fraction
    elif not whole:
        squeezed = " (its processor squeezes images into a square instead)"
        unknown.append("crop of 0.875" + (squeezed if state.layout.startswith("transformers") and colours else ""))
    if isinstance(size, int) or (size := _stored_size(state)):
        input["image_size"] = size
    else:
        unknown.append("size of 224 px")
    if isinstance(white := given.get("white"), int | float):
        input["white"] = white
    if isinstance(clip := given.get("clip"), bool):
        input["clip"] = clip
    if given.get("reduced_decode") is True:
        input["reduced_decode"] = True
    if bands := bands_of(given):  # all that says how files of such bands are read, in their own unit
        input = cast(EvalInput, {**input, **bands.plain()})
    return input, [f"images prepared with ImageNet's {', '.join(unknown)}"] if unknown else []


def _is_reversed(state: StateFile) -> bool:
    """Whether the file's channels are blue, green, red, which `load_backbone` puts in order."""
    filters = state.tensors.get("patch_embed.proj.weight")
    return filters is not None and filters.ndim == 4 and file_bands(state.meta, filters.shape[1]).names == RGB[::-1]


def _stored_size(state: StateFile) -> int | None:
    table, patch_size = state.tensors.get("pos_embed"), state.shape.patch_size
    if table is None or table.ndim != 3 or patch_size is None:
        return None
    grid = stored_grid(state, table.shape[1] - state.shape.class_rows)
    return grid[0] * patch_size if grid and grid[0] == grid[1] else None
