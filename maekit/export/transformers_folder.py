"""Writes a folder that transformers' from_pretrained takes: config, weights, preprocessing."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
from torch import Tensor

from maekit.errors import UserError
from maekit.export.transform import Transform, class_names, evaluation_transform, image_size
from maekit.system.files import atomic_write, atomic_write_text
from maekit.system.size import HeightWidth
from maekit.weights.layouts.layout import Layout
from maekit.weights.load.assumed import assumed_heads
from maekit.weights.read.bands import recorded_bands
from maekit.weights.read.metadata import EPS, HEAD_WIDTH, mask_ratio, norm_eps
from maekit.weights.read.metadata import norm_pix_loss as recorded_norm_pix_loss
from maekit.weights.state.pretraining import pretraining_of
from maekit.weights.state.state_file import StateFile

_CLASSES = {"encoder": "ViTMAEModel", "pretraining": "ViTMAEForPreTraining"}
_PLAIN = "ViTModel"  # of another pre-training than MAE's; its pooler, which none of them has, is left out by a flag
_BICUBIC = 3  # Pillow's number of it
_MASK_RATIO = 0.75  # the paper's, which the released files were trained with


def write_hf(
    source: Path,
    state: StateFile,
    layout: Layout,
    tensors: Mapping[str, Tensor],
    out: Path,
    norm_pix_loss: bool | None,
) -> list[str]:
    """Writes config.json, model.safetensors and preprocessor_config.json, all of them or none.

    Args:
        source: where the tensors are from, for errors.
        state: what was read there.
        layout: how it is written.
        tensors: what to write, by released names; a probe folded already.
        out: the folder; absent or empty.
        norm_pix_loss: as for `convert`.

    Returns:
        Lines that say what was assumed and written.

    Raises:
        UserError: transformers has no such model, the number of heads or the patch grid is not known, or the disk is
            full.
    """
    if "fc_norm.weight" in tensors and state.kind not in layout.kinds:
        raise UserError(
            f"{source} classifies the mean of the patches, expected the class token: transformers' ViT knows no other; "
            'convert it with `--to timm` (global_pool="avg")'
        )
    size = _square_patches(source, state, tensors)
    architecture = _architecture(source, state)
    config = _encoder_config(source, state, tensors, size) | {
        "architectures": [architecture],
        "model_type": "vit_mae" if architecture in _CLASSES.values() else "vit",
    }
    if state.row:
        config |= layout.config(state.row, tensors)
    lines = [f"assumed: {heads}, since the file does not say it" for heads in assumed_heads(state)]
    lines += layout.remarks(tensors)
    if "decoder_pred.weight" in tensors:
        if size.height != size.width:
            raise UserError(
                f"{source} was pre-trained on images of {size.height}x{size.width} px, expected square ones: "
                "transformers' ViTMAE knows no others; write it with `--to mae`, or its encoder with `--to timm`"
            )
        decoder, more = _decoder_config(source, state, tensors, norm_pix_loss)
        config |= decoder
        lines += more
    if "head.weight" in tensors:
        classes, more = _class_config(state, tensors["head.weight"].shape[0])
        config |= classes
        lines += more
    named = layout.from_ours(source, tensors)
    transform = evaluation_transform(state, size)
    with _new_folder(out) as folder:
        atomic_write_text(folder / "config.json", _json(config))
        atomic_write_text(folder / "preprocessor_config.json", _json(_preprocessor(transform)))
        with atomic_write(folder / "model.safetensors") as file:
            file.write(safetensors.torch.save(named, metadata={"format": "pt"}))
    return [*lines, *transform.lines(), f"wrote {out} (load it with {_first(config)}.from_pretrained)"]


def _architecture(source: Path, state: StateFile) -> str:
    other = state.kind == "encoder" and pretraining_of(state, source).word not in ("", "mae")
    return _PLAIN if other else _CLASSES.get(state.kind, "ViTForImageClassification")


def _first(config: Mapping[str, object]) -> str:
    architectures = config["architectures"]
    return str(architectures[0]) if isinstance(architectures, list) else ""


def _square_patches(source: Path, state: StateFile, tensors: Mapping[str, Tensor]) -> HeightWidth:
    """Returns the image size in pixels; refuses patches that are not square, or of an unknown grid."""
    size, patch = image_size(state, tensors), tensors["patch_embed.proj.weight"].shape[2:]
    if size is None or patch[0] != patch[1]:
        raise UserError(
            f"{source} has positions for {tensors['pos_embed'].shape[1] - 1} patches of {patch[0]}x{patch[1]} px, "
            "expected a grid of square patches whose sides the file says, or a square one; convert it with `--to timm`"
        )
    return size


def _encoder_config(
    source: Path, state: StateFile, tensors: Mapping[str, Tensor], size: HeightWidth
) -> dict[str, object]:
    shape, (width, hidden) = state.shape, tensors["blocks.0.mlp.fc2.weight"].shape
    if state.num_heads is None:
        raise UserError(
            f"{source} holds {shape} and does not say how many attention heads it has, which config.json must; "
            "convert it with `--to timm`, or start from a folder of transformers"
        )
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
    return {
        "hidden_size": width,
        "num_hidden_layers": shape.num_blocks,
        "num_attention_heads": state.num_heads,
        "intermediate_size": hidden,
        "image_size": size.height if size.height == size.width else list(size),
        "patch_size": shape.patch_size,
        "num_channels": tensors["patch_embed.proj.weight"].shape[1],
        **({"bands": list(bands)} if (bands := recorded_bands(state.meta)) else {}),
        "qkv_bias": True,
        "hidden_act": "gelu",
        "layer_norm_eps": norm_eps(state.meta, state.row.norm_eps if state.row else EPS),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        **({"dtype": dtypes.pop()} if len(dtypes) == 1 else {}),
    }


def _decoder_config(
    source: Path, state: StateFile, tensors: Mapping[str, Tensor], norm_pix_loss: bool | None
) -> tuple[dict[str, object], list[str]]:
    """Returns the decoder's part of the configuration, and lines on what was assumed."""
    hidden, width = tensors["decoder_blocks.0.mlp.fc1.weight"].shape
    heads = state.decoder_heads or max(1, width // HEAD_WIDTH)
    if width % heads:
        raise UserError(
            f"{source} has a decoder {width} wide and does not say how many attention heads it has, which config.json "
            "must; convert its encoder with `--to timm`"
        )
    lines = [] if state.decoder_heads else [f"assumed: {heads} attention heads in the decoder, {HEAD_WIDTH} wide each"]
    normalised = norm_pix_loss if norm_pix_loss is not None else recorded_norm_pix_loss(state.meta)
    if normalised is None:
        lines.append("assumed: norm_pix_loss false, since the file does not say it")
    ratio = mask_ratio(state.meta)
    if ratio is None:
        lines.append(f"assumed: mask_ratio {_MASK_RATIO}, the paper's, since the file does not say it")
    config: dict[str, object] = {
        "decoder_hidden_size": width,
        "decoder_intermediate_size": hidden,
        "decoder_num_attention_heads": heads,
        "decoder_num_hidden_layers": len({n.split(".")[1] for n in tensors if n.startswith("decoder_blocks.")}),
        "mask_ratio": _MASK_RATIO if ratio is None else ratio,
        "norm_pix_loss": bool(normalised),
    }
    return config, lines


def _class_config(state: StateFile, count: int) -> tuple[dict[str, object], list[str]]:
    """Returns the class names' part of the configuration, and a line on them if there is something to say."""
    names = class_names(state, count)
    labels = names or [f"LABEL_{index}" for index in range(count)]
    config: dict[str, object] = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return config, [
            f"class names: {len(twice)} stand for several classes each ('{twice[0]}', ...); tell them by number"
        ]
    unnamed = f"assumed: class names LABEL_0 to LABEL_{count - 1}, since the file does not say them"
    return config, [] if names else [unnamed]


def _preprocessor(transform: Transform) -> dict[str, object]:
    """Returns preprocessor_config.json: resize of the short side and centre crop, which ViTImageProcessor lacks.

    For an oblong image, which no evaluation of maekit's crops, it is ViTImageProcessor, which squeezes.
    """
    size = {"height": transform.size.height, "width": transform.size.width}
    values = {"do_rescale": True, "rescale_factor": 1 / transform.unit, "do_normalize": True, "do_resize": True}
    common = {**values, "resample": _BICUBIC, "image_mean": transform.mean, "image_std": transform.std}
    if transform.short is None:
        return {"image_processor_type": "ViTImageProcessor", "size": size, **common}
    sizes = {"size": {"shortest_edge": transform.short}, "do_center_crop": True, "crop_size": size}
    return {"image_processor_type": "BitImageProcessor", **sizes, "do_convert_rgb": len(transform.mean) == 3, **common}


def _json(contents: Mapping[str, object]) -> str:
    return json.dumps(contents, indent=2) + "\n"


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Gives a folder beside `out` that takes its place when the block ends without an error, and goes if not."""
    place = out.resolve()  # the folder itself where `out` is a link to an empty one, and a name where it is `.`
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(place)
    except OSError as error:
        raise UserError(
            f"cannot write the folder {out}: {error.strerror or error}; nothing was left behind; "
            "make room or choose a folder you can write to"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
