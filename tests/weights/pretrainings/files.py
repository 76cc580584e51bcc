"""Files as authors of DINOv2 and DINOv3 save them, their names written here from their sources."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.weights.pretrainings.models import hf_model, timm_model

State = dict[str, Tensor]


def prefixed(prefix: str, tensors: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def renamed(tensors: State, *pairs: tuple[str, str]) -> State:
    def new(name: str) -> str:
        for old, replacement in pairs:
            name = re.sub(old, replacement, name)
        return name

    return {new(name): tensor for name, tensor in tensors.items()}


def dino_head(width: int = 48) -> State:
    """DINOHead of facebookresearch/dino, with weight_norm's names."""
    sizes = {"mlp.0": (32, width), "mlp.2": (32, 32), "mlp.4": (16, 32)}
    linear = {f"{name}.weight": torch.randn(size) for name, size in sizes.items()}
    linear |= {f"{name}.bias": torch.randn(size[0]) for name, size in sizes.items()}
    return {**linear, "last_layer.weight_g": torch.ones(64, 1), "last_layer.weight_v": torch.randn(64, 16)}


def dinov2(registers: bool = False) -> tuple[State, Any]:
    """A file of facebookresearch/dinov2, and the model of transformers whose tensors it has."""
    model = hf_model("dinov2 registers" if registers else "dinov2")
    with TemporaryDirectory() as folder:  # names in memory differ between releases, those of files do not
        model.save_pretrained(folder)
        own = load_file(Path(folder) / "model.safetensors")
    blocks: State = {}
    for index in range(3):
        old, new = f"encoder.layer.{index}", f"blocks.{index}"
        for leaf in ("weight", "bias"):
            parts = [own[f"{old}.attention.attention.{part}.{leaf}"] for part in ("query", "key", "value")]
            blocks[f"{new}.attn.qkv.{leaf}"] = torch.cat(parts)
            blocks[f"{new}.attn.proj.{leaf}"] = own[f"{old}.attention.output.dense.{leaf}"]
            for same_name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                blocks[f"{new}.{same_name}.{leaf}"] = own[f"{old}.{same_name}.{leaf}"]
        for number in (1, 2):
            blocks[f"{new}.ls{number}.gamma"] = own[f"{old}.layer_scale{number}.lambda1"]
    around = {
        "cls_token": own["embeddings.cls_token"],
        "pos_embed": own["embeddings.position_embeddings"],
        "mask_token": own["embeddings.mask_token"],
        "patch_embed.proj.weight": own["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": own["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": own["layernorm.weight"],
        "norm.bias": own["layernorm.bias"],
    }
    if registers:
        around["register_tokens"] = own["embeddings.register_tokens"]
    return {**around, **blocks}, model


def dinov3(swiglu: bool = False) -> tuple[State, Any]:
    """A file of facebookresearch/dinov3, and the model of timm whose tensors it has."""
    model = timm_model("dinov3 swiglu" if swiglu else "dinov3 biases")
    state = renamed(
        dict(model.state_dict()),
        (r"gamma_(\d)", r"ls\1.gamma"),
        ("^reg_token", "storage_tokens"),
        ("mlp.fc1_g", "mlp.w1"),
        ("mlp.fc1_x", "mlp.w2"),
    )
    if swiglu:
        state = renamed(state, (r"mlp\.fc2", "mlp.w3"))
    for index in range(3):
        attention = f"blocks.{index}.attn"
        q, v = state.pop(f"{attention}.q_bias"), state.pop(f"{attention}.v_bias")
        state[f"{attention}.qkv.bias"] = torch.cat([q, torch.full_like(q, 9.0), v])  # which the mask takes out
        state[f"{attention}.qkv.bias_mask"] = torch.cat([torch.ones(48), torch.zeros(48), torch.ones(48)])
    state["mask_token"] = torch.randn(1, 48)
    state["rope_embed.periods"] = 100 ** (torch.arange(6) / 6)  # base 100, heads 24 wide
    return state, model
