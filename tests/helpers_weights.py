"""Files of weights in every layout, made with timm: names and numbers that maekit did not write."""

from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

import timm.models.vision_transformer as timm_vit
import torch
from torch import Tensor, nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.heads.linear import LinearHead
from maekit.weights.load import Report, load_weights

PRETRAINED_NAMES = {"allow_new": ("head.*",), "allow_unused": ("decoder*", "mask_token", "norm.*")}


class Small(nn.Module):
    """The smallest transfer model: vit_test_patch8 (48 wide, 3 blocks, patches of 8 px) and a linear head."""

    def __init__(
        self, image_size: tuple[int, int] = (32, 32), classes: int = 5, pooling: Literal["mean", "class"] = "mean"
    ) -> None:
        super().__init__()
        self.backbone = ViT(load_size("vit_test_patch8"), image_size=image_size, final_norm=pooling == "class")
        self.head = LinearHead(48, classes, pooling=pooling, init_std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits


def peer(image_size: tuple[int, int] = (32, 32), classes: int = 5, pooling: str = "mean") -> Any:
    """timm's ViT of the same size, with random numbers in every parameter."""
    torch.manual_seed(1)
    pool: Any = "avg" if pooling == "mean" else "token"
    model = timm_vit.VisionTransformer(
        image_size, 8, embed_dim=48, depth=3, num_heads=2, num_classes=classes, global_pool=pool
    )
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    return model.eval()


def encoder() -> dict[str, Tensor]:
    """The tensors of mae_pretrain_vit_*.pth at the test size, on a 4x4 grid."""
    return dict(peer(pooling="class", classes=0).state_dict())


def decoder() -> dict[str, Tensor]:
    """What mae_pretrain_vit_*_full.pth has beside them."""
    block = peer(classes=0).blocks[0].state_dict()
    layers = [f"decoder_{layer}.{kind}" for layer in ("embed", "norm", "pred") for kind in ("weight", "bias")]
    return {
        "mask_token": torch.ones(1, 1, 48),
        "decoder_pos_embed": torch.ones(1, 17, 48),
        **{name: torch.ones(48) for name in layers},
        **{f"decoder_blocks.{index}.{name}": tensor for index in range(2) for name, tensor in block.items()},
    }


def released(path: Path, tensors: dict[str, Tensor], **more: object) -> Path:
    """Saves as facebookresearch/mae does."""
    args = Namespace(model="mae_vit_base_patch16", blr=1.5e-4, world_size=64)
    torch.save({"model": tensors, "epoch": 799, "args": args, "optimizer": {"state": {}}, **more}, path)
    return path


def load(model: nn.Module, path: Path, **changes: Any) -> Report:
    """Loads with what a fine-tuning task expects, but for the changes."""
    return load_weights(model, path, **{**PRETRAINED_NAMES, "allow_resized": ("pos_embed",), **changes})
