"""How images are prepared for exported weights, and what their classes are called, as other libraries say it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from maekit.weights.load.classes import file_classes
from maekit.weights.read.metadata import normalisation, said_input
from maekit.weights.read.shape import measure
from maekit.weights.state.state_file import StateFile, stored_grid

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # mean, std
_CROP = 0.875  # of ImageNet's evaluation: 224 of 256 px; facebookresearch/mae @ efb2a80 util/datasets.py
_BICUBIC = 3  # PIL's number of it
_TIMM = {"vit_base_patch16": "vit_base_patch16_224", "vit_large_patch16": "vit_large_patch16_224"}
_TIMM |= {"vit_huge_patch14": "vit_huge_patch14_224"}


class Prepared(NamedTuple):
    """The evaluation transform of an image: resize, crop the centre, normalise.

    Attributes:
        size: (height, width) in pixels of the result.
        short: the short side in pixels to which the image is resized before; None where a square does not fit `size`.
        crop_fraction: the crop's share of that side.
        mean: of the channels, in 0..1.
        std: likewise.
        assumed: what of it the file does not say, in words.
    """

    size: tuple[int, int]
    short: int | None
    crop_fraction: float
    mean: list[float]
    std: list[float]
    assumed: tuple[str, ...]

    def lines(self) -> list[str]:
        """The transform in one line, and one for what was assumed."""
        height, width = self.size
        how = f"short side to {self.short} px (bicubic), then the centre" if self.short else "squeezed (bicubic) to"
        text = f"transform: {how} {height}x{width} px, mean {self.mean}, std {self.std}"
        missing = f"assumed: ImageNet's {' and '.join(self.assumed)}, since the file does not say them"
        return [text, missing] if self.assumed else [text]


def prepared(state: StateFile, size: tuple[int, int]) -> Prepared:
    """The transform that a file says, a run's or a configuration's, at the size (h, w) in pixels of its positions."""
    said = said_input(state.meta)
    colours, fraction = normalisation(state.meta), said.get("crop_fraction")
    known = isinstance(fraction, (int, float)) and 0 < fraction <= 1
    share = float(fraction) if known and fraction is not None else _CROP
    missing = (*(() if colours else ("mean and deviation",)), *(() if known else (f"crop of {_CROP}",)))
    mean, std = colours or IMAGENET
    short = int(size[0] / share) if size[0] == size[1] else None
    return Prepared(size, short, share, list(mean), list(std), missing)


def hf_preprocessor(image: Prepared) -> dict[str, Any]:
    """`preprocessor_config.json`: resize of the short side and centre crop, which ViTImageProcessor does not know.

    An oblong image, which no evaluation of maekit's crops, is squeezed as ViTImageProcessor does.
    """
    height, width = image.size
    common: dict[str, Any] = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_resize": True}
    common |= {"resample": _BICUBIC, "image_mean": image.mean, "image_std": image.std}
    if image.short is None:
        return {"image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}, **common}
    crop = {"height": height, "width": width}
    sizes = {"size": {"shortest_edge": image.short}, "do_center_crop": True, "crop_size": crop}
    return {"image_processor_type": "BitImageProcessor", **sizes, "do_convert_rgb": True, **common}


def timm_json(state: StateFile, tensors: Mapping[str, Tensor], image: Prepared, classes: Sequence[str]) -> str:
    """timm's `config.json`: how to build the network, how images are prepared, and what its classes are called.

    `timm.create_model("local-dir:FOLDER")` takes it where it lies beside a model.safetensors (timm 1.0.26 or newer).
    """
    shape = measure(tensors)
    hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0] / (shape.embed_dim or 1)
    count = tensors["head.weight"].shape[0] if "head.weight" in tensors else 0
    pool = "avg" if "fc_norm.weight" in tensors else "token"
    arguments: dict[str, Any] = {
        "img_size": list(image.size),
        "patch_size": shape.patch_size,
        "embed_dim": shape.embed_dim,
    }
    arguments |= {"depth": shape.num_blocks, "num_heads": state.num_heads, "mlp_ratio": hidden, "global_pool": pool}
    config = {
        "architecture": _TIMM.get(shape.name or "", "vit_base_patch16_224"),
        "num_classes": count,
        "num_features": shape.embed_dim,
        "global_pool": pool,
        **({"label_names": list(classes)} if classes else {}),
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, *image.size],
            "fixed_input_size": True,
            "num_classes": count,
            "pool_size": None,
            "crop_pct": image.crop_fraction,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": image.mean,
            "std": image.std,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    return json.dumps(config, indent=2) + "\n"


def image_size(state: StateFile, tensors: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Height and width in pixels that the position table is for; None where its grid is not known."""
    table_, patch = tensors.get("pos_embed"), measure(tensors).patch_size
    if table_ is None or patch is None:
        return None
    grid = stored_grid(state, table_.shape[1] - int("cls_token" in tensors))
    return (grid[0] * patch, grid[1] * patch) if grid else None


def named_classes(state: StateFile, count: int) -> tuple[str, ...]:
    """The names of as many classes as a head has; empty where the file does not say them."""
    classes = file_classes(state.meta)
    return classes.names if classes and len(classes.names) == count else ()
