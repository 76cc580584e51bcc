"""Reads a folder that transformers saved: its config, and its tensors in one file or in shards."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from maekit.backbone.sizes import load_size
from maekit.errors import UserError
from maekit.weights.read.input_config import processor_input
from maekit.weights.read.safe_load import load_file
from maekit.weights.read.shorten import some

# The types of models that are read, and the activations that their ViTs here have, the one of an old config.json first.
_MODELS: dict[str, tuple[str, ...]] = {
    "vit_mae": ("gelu",),
    "vit": ("gelu",),
    "dinov2": ("gelu",),
    "dinov2_with_registers": ("gelu",),
    "dinov3_vit": ("gelu",),
    "ijepa": ("gelu",),
    "beit": ("gelu",),
    "clip": ("quick_gelu", "gelu"),
    "clip_vision_model": ("quick_gelu", "gelu"),
    "siglip": ("gelu_pytorch_tanh",),
    "siglip_vision_model": ("gelu_pytorch_tanh",),
}
_BASE = load_size("vit_base_patch16_dinov3").rotary_base
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_AGAIN = "download or copy the folder again"


@dataclass(frozen=True)
class HFFolder:
    """The contents of such a folder.

    Attributes:
        tensors: by the folder's names.
        meta: the `config` (of a model of images and texts with its `vision_config` laid over it), `image_size` [h, w]
            in pixels, `class_names` where they are no mere numbers, and `input`,
            how images are prepared, as far as `preprocessor_config.json` says it.
        num_heads: attention heads a block.
        decoder_heads: those of the decoder; None for a model that has none.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, object]
    num_heads: int
    decoder_heads: int | None


def read_folder(folder: Path) -> HFFolder:
    """Reads config.json and the weights beside it.

    Raises:
        UserError: no config or a broken one, a model of another type, no weights, a shard missing or damaged.
    """
    config = _config(folder)
    meta: dict[str, object] = {"config": config, "image_size": _sides(folder, config.get("image_size", 224))}
    if names := _class_names(config):
        meta["class_names"] = names
    if prepared := processor_input(folder):
        meta["input"] = prepared
    decoder = _count(folder, config, "decoder_num_attention_heads") if config["model_type"] == "vit_mae" else None
    heads = _count(folder, config, "num_attention_heads") or 12
    return HFFolder(_tensors(folder), meta, heads, decoder)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        inside = sorted(
            p.name for p in folder.iterdir() if p.suffix in (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
        )
        hint = f"; name one of those in it, such as '{inside[0]}'" if inside else "; there is no checkpoint in it"
        raise UserError(
            f"{folder} is a folder without config.json, expected a file of weights or a folder that transformers saved"
            f"{hint}"
        )
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is no JSON ({error}), cut short perhaps; {_AGAIN}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if isinstance(config, dict) and kind is None and "architecture" in config:
        raise UserError(f"{folder} is a folder of timm, expected one of transformers; name the weights file in it")
    if kind not in _MODELS:
        raise UserError(
            f"{file}: got model_type {kind!r}, expected {', '.join(_MODELS)}; name a folder of one of these models"
        )
    if isinstance(vision := config.get("vision_config"), dict):  # of a model of images and texts
        config = {**config, **vision, "model_type": kind}
    expected = ("silu",) if config.get("use_gated_mlp") is True else _MODELS[kind]
    if (activation := config.get("hidden_act", expected[0])) not in expected:
        raise UserError(
            f"{file}: got hidden_act {activation!r}, expected {' or '.join(expected)}; that is a ViT of another kind "
            "than is known here"
        )
    if kind == "dinov3_vit" and (base := config.get("rope_theta", _BASE)) != _BASE:
        raise UserError(f"{file}: got rope_theta {base}, expected {_BASE}: that is another ViT than DINOv3's")
    return dict(config)


def _count(folder: Path, config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    if value is not None and (not isinstance(value, int) or value < 1):
        raise UserError(f"{folder / 'config.json'}: got {key} {value!r}, expected a whole number above 0; {_AGAIN}")
    return value


def _sides(folder: Path, size: object) -> list[int]:
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise UserError(
            f"{folder / 'config.json'}: got image_size {size!r}, expected pixels or [height, width]; {_AGAIN}"
        )
    return sides


def _class_names(config: Mapping[str, Any]) -> list[str] | None:
    """Returns the labels in the order of their numbers; None for transformers' placeholders LABEL_0, LABEL_1, ..."""
    table = config.get("id2label")
    if not isinstance(table, dict) or not all(str(key).isdecimal() for key in table):
        return None
    names = [str(table[key]) for key in sorted(table, key=int)]
    return names if names != [f"LABEL_{index}" for index in range(len(names))] else None


def _tensors(folder: Path) -> dict[str, Tensor]:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return _mapping(folder / name)
        if (index := folder / f"{name}.index.json").is_file():
            return _shards(index)
    raise UserError(f"{folder} has config.json but no weights, expected {' or '.join(_WEIGHTS)} in it; {_AGAIN}")


def _mapping(path: Path) -> dict[str, Tensor]:
    contents = load_file(path)
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds a {type(contents).__name__}, expected a dict of tensors; {_AGAIN}")
    return {str(name): value for name, value in contents.items() if isinstance(value, Tensor)}


def _shards(index: Path) -> dict[str, Tensor]:
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{index} is no index of shards ({error}); {_AGAIN}") from error
    if strange := [file for file in files if not isinstance(file, str) or Path(file).name != file]:
        raise UserError(f"{index} names the shard {strange[0]!r}, expected files beside it; {_AGAIN}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _mapping(index.parent / file)
    if missing := [name for name in places if name not in tensors]:
        raise UserError(f"{index} promises tensors that its shards lack: {some(missing)}; {_AGAIN}")
    return tensors
