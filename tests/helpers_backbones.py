"""Small files of other pre-trainings, as their authors save them, with random numbers in every parameter."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT

DINOV2 = "vit_test_patch8_reg4_dinov2"
DINOV3 = "vit_test_plus_patch8_dinov3"


def random_vit(name: str) -> ViT:
    """A ViT for images of 32 px, whose scales and biases are no zeros either."""
    torch.manual_seed(4)
    vit = ViT(load_size(name), image_size=(32, 32))
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.1)
    return vit


def dinov2_file(path: Path, name: str = DINOV2) -> Path:
    """As facebookresearch/dinov2 releases one: register_tokens, ls1.gamma, and the mask token of its pre-training."""
    state = random_vit(name).state_dict()
    tensors = {_branches(key).replace("reg_token", "register_tokens"): tensor for key, tensor in state.items()}
    torch.save({**tensors, "mask_token": torch.zeros(1, state["cls_token"].shape[2])}, path)
    return path


def dinov3_file(path: Path, name: str = DINOV3) -> Path:
    """As facebookresearch/dinov3: storage_tokens, w1, w2 and w3 of SwiGLU, masked biases of keys, bfloat16 periods."""
    size, tensors = load_size(name), dict[str, Tensor]()
    for key, tensor in random_vit(name).state_dict().items():
        theirs = _branches(key).replace("reg_token", "storage_tokens")
        stem, _, leaf = theirs.rpartition(".")
        if stem.endswith("mlp.fc1"):
            gate, value = tensor.chunk(2)
            tensors |= {f"{stem[:-3]}w1.{leaf}": gate.clone(), f"{stem[:-3]}w2.{leaf}": value.clone()}
        elif theirs.endswith("attn.qkv.bias"):
            mask = torch.ones_like(tensor)
            mask.chunk(3)[1].zero_()
            tensors |= {theirs: tensor + (1 - mask), f"{theirs}_mask": mask}  # what the mask takes out is no zero
        else:
            tensors[theirs.replace("mlp.fc2", "mlp.w3")] = tensor
    quarter = size.embed_dim // size.num_heads // 4
    periods = torch.tensor([size.rotary_base ** (step / quarter) for step in range(quarter)])
    tensors |= {"rope_embed.periods": periods.bfloat16(), "mask_token": torch.zeros(1, size.embed_dim)}
    torch.save(tensors, path)
    assert all(math.isfinite(float(tensor.abs().max())) for tensor in tensors.values())
    return path


def _branches(key: str) -> str:
    return key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")


FILES = {DINOV2: dinov2_file, DINOV3: dinov3_file}
