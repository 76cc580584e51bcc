"""timm's and transformers' plain ViTs at small size, and their tensors under our names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import timm
import torch
import transformers
from timm.layers.mlp import SwiGLUPacked
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from maekit.backbone.sizes import Size, load_size
from tests.peers import need

TAPS = (0, 2)
Tensors = Mapping[str, Tensor]
Run = Callable[[Any, Tensor], tuple[Tensor, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Peer:
    """A model of another library.

    Attributes:
        size: what it is here.
        make: builds it for an image (height, width).
        run: gives tokens [B, P + N, D] after the last block, normalised or not, and maps [B, D, h, w] after `TAPS`.
        names: gives tensors, or their gradients, our names: a linear map.
        final_norm: whether the tokens are normalised.
    """

    size: Size
    make: Callable[[tuple[int, int]], nn.Module]
    run: Run
    names: Callable[[Tensors], dict[str, Tensor]]
    final_norm: bool = True


def renamed(tensors: Tensors, rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Renames by regular expressions, and joins what is apart there: q, k, v with their biases, gate and value."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = tensor
    for name in [name for name in found if name.endswith(("attn.q.weight", "attn.q.bias", "attn.q_only.bias"))]:
        stem, kind = re.sub(r"q(_only)?\.(weight|bias)$", "", name), name.rpartition(".")[2]
        query = found.pop(name)
        key = found.pop(f"{stem}k.{kind}", torch.zeros_like(query))
        found[f"{stem}qkv.{kind}"] = torch.cat([query, key, found.pop(f"{stem}v.{kind}")])
    for name in [name for name in found if ".mlp.gate." in name]:
        found[name.replace("gate", "fc1")] = torch.cat([found.pop(name), found.pop(name.replace("gate", "value"))])
    return found


def peers() -> dict[str, Peer]:
    """The architectures by name, each with its library."""
    return {
        "plain, timm": _timm("vit_test_patch8"),
        "moco v3, timm": _timm("vit_test_patch8_mocov3"),
        "dinov2, timm": _timm("vit_test_patch8_dinov2", init_values=1e-5),
        # timm adds the class token's position to it
        "dinov2 registers, timm": _timm(
            replace(load_size("vit_test_patch8_reg4_dinov2"), class_position=False),
            init_values=1e-5,
            reg_tokens=4,
            no_embed_class=True,
        ),
        "dinov2 swiglu, timm": _timm(
            replace(load_size("vit_test_plus_patch8_dinov2")),
            init_values=1e-5,
            mlp_layer=SwiGLUPacked,
            act_layer=nn.SiLU,
            mlp_ratio=2 * 136 / 48,
        ),
        "deit3, timm": _timm("vit_test_patch8_deit3", init_values=1e-4, no_embed_class=True),
        "clip, timm": _timm("vit_test_patch8_clip", pre_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-5)),
        "clip quickgelu, timm": _timm(
            "vit_test_patch8_clip_quickgelu",
            pre_norm=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            act_layer="quick_gelu",
        ),
        "ijepa, timm": _timm("vit_test_patch8_ijepa", class_token=False, global_pool="avg", fc_norm=False),
        "siglip, timm": _timm(
            replace(load_size("vit_test_patch8"), class_token=False, mlp="gelu_tanh"),
            class_token=False,
            global_pool="avg",
            fc_norm=False,
            act_layer="gelu_tanh",
        ),
        "q and k normalised, no bias, timm": _timm(
            replace(load_size("vit_test_patch8"), qk_norm=True, qkv_bias="none"), qk_norm=True, qkv_bias=False
        ),
        "dinov3, timm": _eva("vit_test_patch8_dinov3"),
        "dinov3 plus, timm": _eva(
            "vit_test_plus_patch8_dinov3", swiglu_mlp=True, swiglu_align_to=8, mlp_ratio=136 / 48
        ),
        "beit, timm": _beit("vit_test_patch8_beit", use_rel_pos_bias=True),
        "beit with one table, timm": _beit(
            replace(load_size("vit_test_patch8_beit"), relative_position="shared"), use_shared_rel_pos_bias=True
        ),
        "dinov2, transformers": _hf("vit_test_patch8_dinov2", "Dinov2", mlp_ratio=4),
        "dinov2 registers, transformers": _hf("vit_test_patch8_reg4_dinov2", "Dinov2WithRegisters", mlp_ratio=4),
        "dinov2 swiglu, transformers": _hf(
            replace(load_size("vit_test_plus_patch8_dinov2"), mlp_hidden=128),
            "Dinov2",
            use_swiglu_ffn=True,
            mlp_ratio=4,
        ),
        "dinov3, transformers": _hf(
            "vit_test_patch8_dinov3", "DINOv3ViT", num_register_tokens=4, intermediate_size=192
        ),
        "dinov3 plus, transformers": _hf(
            "vit_test_plus_patch8_dinov3",
            "DINOv3ViT",
            num_register_tokens=4,
            use_gated_mlp=True,
            hidden_act="silu",
            intermediate_size=136,
        ),
        "beit, transformers": _hf(
            "vit_test_patch8_beit",
            "Beit",
            use_relative_position_bias=True,
            use_mean_pooling=False,
            layer_norm_eps=1e-6,
            intermediate_size=192,
        ),
        "clip, transformers": _hf(
            "vit_test_patch8_clip", "CLIPVision", hidden_act="gelu", intermediate_size=192, final_norm=False
        ),
        "clip quickgelu, transformers": _hf(
            "vit_test_patch8_clip_quickgelu", "CLIPVision", intermediate_size=192, final_norm=False
        ),
        "ijepa, transformers": _hf("vit_test_patch8_ijepa", "IJepa", layer_norm_eps=1e-6, intermediate_size=192),
        "siglip, transformers": _hf(
            replace(load_size("vit_test_patch8"), class_token=False, mlp="gelu_tanh"),
            "SiglipVision",
            layer_norm_eps=1e-6,
            intermediate_size=192,
            vision_use_head=False,
        ),
    }


_TIMM_NAMES = [
    (r"\.ls(\d)\.gamma", r".gamma_\1"),
    (r"\.fc1_g\.", ".gate."),
    (r"\.fc1_x\.", ".value."),
    (r"attn\.q_bias", "attn.q_only.bias"),
    (r"attn\.v_bias", "attn.v.bias"),
    (r"attn\.relative_position_bias_table", "attn.position.table"),
    (r"^rel_pos_bias\.relative_position_bias_table", "shared_bias.grid.table"),
]
_TEST: dict[str, Any] = {"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 2, "num_classes": 0}


def _size(size: Size | str) -> Size:
    return load_size(size) if isinstance(size, str) else size


def _run_timm(model: Any, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    maps = model.forward_intermediates(images, indices=list(TAPS), norm=False, intermediates_only=True)
    return model.forward_features(images), tuple(maps)


def _timm(size: Size | str, **options: Any) -> Peer:
    def make(image_size: tuple[int, int]) -> nn.Module:
        return VisionTransformer(image_size, **_TEST, **options)

    return Peer(_size(size), make, _run_timm, lambda tensors: renamed(tensors, _TIMM_NAMES))


def _eva(size: str, **options: Any) -> Peer:
    def make(image_size: tuple[int, int]) -> nn.Module:
        need(timm, "1.0.26")
        model = Eva(
            image_size,
            **_TEST,
            **options,
            qkv_bias=True,
            init_values=1e-5,
            rope_type="dinov3",
            rope_temperature=100,
            rope_rotate_half=True,
            use_rot_pos_emb=True,
            use_abs_pos_emb=False,
            num_reg_tokens=4,
            use_fc_norm=False,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            dynamic_img_size=True,
        )
        model.rope.periods = _periods()  # theirs are rounded to fp32
        return model

    return Peer(_size(size), make, _run_timm, lambda tensors: renamed(tensors, _TIMM_NAMES))


def _periods() -> Tensor:
    return torch.pow(100, torch.arange(6, dtype=torch.get_default_dtype()) / 6)


def _leave_coordinates_unrounded() -> None:
    """Theirs are rounded to fp32."""
    from transformers.models.dinov3_vit import modeling_dinov3_vit

    theirs = modeling_dinov3_vit.get_patches_center_coordinates
    if theirs.__module__ == modeling_dinov3_vit.__name__:

        def coordinates(*args: Any, dtype: torch.dtype, **options: Any) -> Tensor:
            found: Tensor = theirs(*args, dtype=torch.get_default_dtype(), **options)
            return found

        modeling_dinov3_vit.get_patches_center_coordinates = coordinates


def _beit(size: Size | str, **options: Any) -> Peer:
    norm: Any = partial(nn.LayerNorm, eps=1e-6)

    def make(image_size: tuple[int, int]) -> nn.Module:
        need(timm, "1.0.26")
        return Beit(
            image_size,
            **_TEST,
            **options,
            init_values=0.1,
            use_abs_pos_emb=False,
            use_fc_norm=False,
            norm_layer=norm,
        )

    return Peer(_size(size), make, _run_timm, lambda tensors: renamed(tensors, _TIMM_NAMES))


_HF_NAMES = [
    (r"^(encoder|model)\.layers?\.", "blocks."),
    (r"^layers?\.", "blocks."),
    (r"^embeddings\.(cls_token|mask_token)", r"\1"),
    (r"^embeddings\.class_embedding", "cls_token"),
    (r"^embeddings\.register_tokens", "reg_token"),
    (r"^embeddings\.position_embeddings?(\.weight)?$", "pos_embed"),
    (r"^embeddings\.patch_embeddings?\.(projection\.)?", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^(layernorm|post_layernorm)\.", "norm."),
    (r"\.(layernorm_before|layer_norm1)\.", ".norm1."),
    (r"\.(layernorm_after|layer_norm2)\.", ".norm2."),
    (r"\.(attention|self_attn)\.", ".attn."),
    (r"attn\.([qkv])_proj\.", r"attn.\1."),
    (r"attn\.(o|out)_proj\.", "attn.proj."),
    (r"\.relative_position_bias\.relative_position_bias_table", ".attn.position.table"),
    (r"\.layer_scale(\d)\.lambda1", r".gamma_\1"),
    (r"\.lambda_(\d)$", r".gamma_\1"),
    (r"\.mlp\.gate_proj\.", ".mlp.gate."),
]


def _hf_names(tensors: Tensors) -> dict[str, Tensor]:
    gated = any(".gate_proj." in name for name in tensors)
    up = [(r"\.mlp\.up_proj\.", ".mlp.value." if gated else ".mlp.fc1."), (r"\.mlp\.down_proj\.", ".mlp.fc2.")]
    found = renamed(tensors, [*_HF_NAMES, *up])
    found.pop("mask_token", None)
    for name, dims in (("cls_token", 3), ("pos_embed", 3)):
        if name in found:
            found[name] = found[name].view(*[1] * (dims - found[name].ndim), *found[name].shape)
    return found


def _hf(size: Size | str, kind: str, *, final_norm: bool = True, **options: Any) -> Peer:
    def make(image_size: tuple[int, int]) -> nn.Module:
        need(transformers, "5.9")  # earlier ones name the modules otherwise in memory
        config_of, model_of = (getattr(transformers, f"{kind}{part}") for part in ("Config", "Model"))
        # their position tables are of square images, and are resized to others
        sides: Any = list(image_size) if kind in ("Beit", "DINOv3ViT") else image_size[0]
        config = config_of(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            patch_size=8,
            image_size=sides,
            attn_implementation="sdpa",
            **options,
        )
        model: Any = model_of(config, **{"add_pooling_layer": False} if kind in ("Beit", "IJepa") else {})
        if kind == "DINOv3ViT":
            model.rope_embeddings.inv_freq = 1 / _periods()
            _leave_coordinates_unrounded()
        assert isinstance(model, nn.Module)
        return model

    def run(model: Any, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        resized = {"interpolate_pos_encoding": True} if kind in ("CLIPVision", "SiglipVision", "IJepa") else {}
        found = model(images, output_hidden_states=True, **resized)
        side = [length // 8 for length in images.shape[2:]]
        states = [found.hidden_states[index + 1] for index in TAPS]
        maps = tuple(state[:, -side[0] * side[1] :].transpose(1, 2).unflatten(2, side) for state in states)
        return found.last_hidden_state, maps

    return Peer(_size(size), make, run, _hf_names, final_norm)
