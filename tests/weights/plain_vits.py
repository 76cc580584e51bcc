"""Small models of timm and transformers with random numbers, and how their files are compared with ours."""

from pathlib import Path
from typing import Any

import timm.models.beit as timm_beit
import torch
from torch import Tensor, nn

from maekit.export.convert import convert
from maekit.weights.load.backbone import load_backbone
from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64
from tests.weights.helpers import images

TINY: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "image_size": 32,
    "patch_size": 8,
}
TINY_TIMM: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 2}


def random(model: nn.Module) -> Any:
    """The model with random numbers in every parameter."""
    torch.manual_seed(4)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    return model.eval()


def assert_tokens(path: Path, expected: Tensor, name: str, size: tuple[int, int] = (32, 32)) -> None:
    """Asserts that a file is of the ViT called `name`, and gives the tokens expected [2, N, D] of `images(*size)`."""
    assert read_state(path).shape.name == name
    backbone = load_backbone(path, image_size=size).double()
    assert_float64(backbone(images(*size).double()).tokens, expected)


def converted(source: Path, to: Any, out: Path) -> Path:
    """The path of what was written."""
    convert(source, to, out)
    return out


def beit(shared: bool = False, size: tuple[int, int] = (32, 32), **changes: Any) -> Any:
    """timm's Beit, with a table in each block or one that they share, and a norm of the tokens."""
    tables = {"use_shared_rel_pos_bias": shared, "use_rel_pos_bias": not shared, "use_abs_pos_emb": False}
    settings = {**TINY_TIMM, "img_size": size, "init_values": 0.1, "global_pool": "token", "num_classes": 0, **tables}
    return random(timm_beit.Beit(**{**settings, **changes}))


def beit_pretrained(source: Any, *, second: bool) -> dict[str, Tensor]:
    """The names of beit/modeling_pretrain.py, and of beit2's with two blocks that look at the class token."""
    tensors = dict(source.state_dict())
    more = {"mask_token": torch.ones(1, 1, 48), "lm_head.weight": torch.ones(9, 48), "lm_head.bias": torch.ones(9)}
    more["rel_pos_bias.relative_position_index"] = torch.zeros(17, 17, dtype=torch.long)
    blocks = {name: tensor for name, tensor in tensors.items() if name.startswith("blocks.0.")}
    late = {name.replace("blocks.0.", f"cls_pt_layers.{index}."): t for name, t in blocks.items() for index in (0, 1)}
    return {**tensors, **more, **(late if second else {})}
