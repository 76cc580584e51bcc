"""timm's `config.json`: how to build the network, how images are prepared, and what the classes are called."""

import json
from collections.abc import Mapping

from torch import Tensor

from maekit.export.transform import class_names, evaluation_transform, image_size
from maekit.system.plain import table
from maekit.weights.load.assumed import assumed_heads
from maekit.weights.read.bands import recorded_bands
from maekit.weights.state.state_file import StateFile

_ARCHITECTURES = {
    "vit_base_patch16": "vit_base_patch16_224",
    "vit_large_patch16": "vit_large_patch16_224",
    "vit_huge_patch14": "vit_huge_patch14_224",
}


def timm_config(
    state: StateFile, tensors: Mapping[str, Tensor], parts: Mapping[str, object], pool: str
) -> tuple[str, list[str]]:
    """Returns the text of the configuration, and lines on what was assumed.

    `timm.create_model("local-dir:FOLDER")` takes it if it lies beside a model.safetensors (timm 1.0.26 or newer).

    Args:
        state: what was read from the source; if it does not say its grid or its attention heads the text is empty.
        tensors: those of timm's model, by its names.
        parts: what its layout says of it: `architecture` and more `model_args`.
        pool: timm's word for what its classifier is given.
    """
    size = image_size(state, tensors)
    if size is None or state.num_heads is None:
        unknown = "the grid of its positions" if size is None else "its attention heads"
        return "", [f"no configuration for timm is written: the file does not say {unknown}"]
    transform, shape = evaluation_transform(state, size), state.shape
    count = tensors["head.weight"].shape[0] if "head.weight" in tensors else 0
    names = class_names(state, count)
    channels = tensors["patch_embed.proj.weight"].shape[1]
    bands = recorded_bands(state.meta)
    hidden = tensors.get("blocks.0.mlp.fc1.weight", tensors.get("blocks.0.mlp.fc1_g.weight"))
    width = shape.embed_dim or 1
    rows = width if hidden is None else hidden.shape[0]
    config = {
        "architecture": parts.get("architecture", _ARCHITECTURES.get(shape.name or "", "vit_base_patch16_224")),
        "num_classes": count,
        "num_features": shape.embed_dim,
        "global_pool": pool,
        **({"label_names": list(names)} if names else {}),
        **({"bands": list(bands)} if bands else {}),
        "model_args": {
            "img_size": list(size),
            "patch_size": shape.patch_size,
            **({"in_chans": channels} if channels != 3 else {}),
            "embed_dim": shape.embed_dim,
            "depth": shape.num_blocks,
            "num_heads": state.num_heads,
            "mlp_ratio": (rows if rows % width == 0 else rows + 0.5) / width,  # timm rounds the product down
            "global_pool": pool,
            **table(parts.get("model_args")),
        },
        "pretrained_cfg": {
            "input_size": [channels, *size],
            "fixed_input_size": True,
            "num_classes": count,
            "pool_size": None,
            "crop_pct": transform.crop_fraction,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": transform.mean,
            "std": transform.std,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    lines = [f"assumed: {each}, since the file does not say it" for each in assumed_heads(state)]
    lines += transform.lines()
    if count and not names:
        lines.append("class names: none, since the file does not say them")
    return json.dumps(config, indent=2) + "\n", lines
