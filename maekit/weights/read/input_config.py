"""Configurations of timm, transformers and open_clip beside weights: how images are prepared, the class names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maekit.system.plain import table

TIMM_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm calls the weights in a folder


def timm_config(path: Path) -> dict[str, object]:
    """Returns what timm's configuration beside a file of weights says; empty without one.

    `architecture`, `tag` (of the pre-training), `class_names`, `bands`, `licence` and `input`, where they are there.

    It is `config.json` beside files that timm names itself, else the file's own name and `.json`.
    """
    config = _json(timm_place(path))
    if "architecture" not in config:
        return {}
    own = table(config.get("pretrained_cfg"))
    names = config.get("label_names", own.get("label_names"))
    size = own.get("input_size")
    found: dict[str, object] = {
        "mean": own.get("mean"),
        "std": own.get("std"),
        "crop_fraction": own.get("crop_pct"),
        "image_size": size[-1] if isinstance(size, list) and len(size) == 3 and size[1] == size[2] else None,
    }
    known = _known(found)
    bands = {"bands": config["bands"]} if isinstance(config.get("bands"), list) else {}
    classes = {"class_names": names} if isinstance(names, list) else {}
    words = {"architecture": config["architecture"], "tag": own.get("tag"), "licence": own.get("license")}
    said = {name: word for name, word in words.items() if isinstance(word, str) and word}
    return {**said, **classes, **bands, **({"input": known} if known else {})}


def timm_place(path: Path) -> Path:
    """Returns the path of timm's configuration that belongs to a file of weights."""
    return path.with_name("config.json" if path.name in TIMM_FILES else f"{path.name}.json")


def open_clip_config(path: Path) -> dict[str, object]:
    """Returns what open_clip_config.json beside weights says: `open_clip`, its model, and `input`; or nothing."""
    config = _json(path.with_name("open_clip_config.json"))
    model, prepared = table(config.get("model_cfg")), table(config.get("preprocess_cfg"))
    known = _known({"mean": prepared.get("mean"), "std": prepared.get("std")})
    return {"open_clip": dict(model), **({"input": known} if known else {})} if model else {}


def processor_input(folder: Path) -> dict[str, object]:
    """Returns `preprocessor_config.json` of transformers as arguments of `EvalTransform`; empty without one.

    Size and crop are known where it resizes the short side and then crops; where it squeezes images into a square,
    which no transform here does, only mean and deviation are.
    """
    config = _json(folder / "preprocessor_config.json")
    normalises = config.get("do_normalize", True) is not False
    found: dict[str, object] = {
        "mean": config.get("image_mean") if normalises else [0.0] * 3,
        "std": config.get("image_std") if normalises else [1.0] * 3,
    }
    short, crop = table(config.get("size")).get("shortest_edge"), table(config.get("crop_size"))
    sides = {crop.get("height"), crop.get("width")}
    if config and config.get("do_center_crop") and type(short) is int and len(sides) == 1:
        side = sides.pop()
        if type(side) is int and 0 < side <= short:
            found |= {"image_size": side, "crop_fraction": side / short}
    return _known(found) if config else {}


def _known(found: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in found.items() if value is not None}


def _json(file: Path) -> Mapping[str, Any]:
    try:
        return table(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}
