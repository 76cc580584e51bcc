"""Files of weights in every layout, made with timm: names and numbers that maekit did not write."""

from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

import pytest
import timm.models.vision_transformer as timm_vit
import torch
from torch import Tensor, nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.classification.linear_head import LinearHead
from maekit.errors import UserError
from maekit.weights.load.load import Report, load_weights
from maekit.weights.state.state_file import read_state

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
        logits: Tensor = self.head(self.backbone.pool(self.backbone(images).tokens, self.head.pooling))
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
    torch.manual_seed(3)
    blocks = [timm_vit.Block(64, 2, qkv_bias=True) for _ in range(2)]
    layers = {"embed": nn.Linear(48, 64), "norm": nn.LayerNorm(64), "pred": nn.Linear(64, 8 * 8 * 3)}
    modules = {f"decoder_{name}": layer for name, layer in layers.items()}
    modules |= {f"decoder_blocks.{index}": block for index, block in enumerate(blocks)}
    named = {"mask_token": torch.empty(1, 1, 64), "decoder_pos_embed": torch.empty(1, 17, 64)}
    named |= {f"{name}.{leaf}": t for name, module in modules.items() for leaf, t in module.state_dict().items()}
    return {name: torch.randn(tensor.shape) for name, tensor in named.items()}


class Probe(nn.Module):
    """A model as the linear probe trains it: the class token through BatchNorm without weights, then a Linear."""

    def __init__(self, classes: int = 5, *, final_norm: bool = True) -> None:
        super().__init__()
        self.backbone = ViT(load_size("vit_test_patch8"), image_size=(32, 32), final_norm=final_norm)
        norm, classifier = nn.BatchNorm1d(48, affine=False, eps=1e-6), nn.Linear(48, classes)
        self.head = nn.ModuleDict({"fc_norm": norm, "fc": classifier})

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head["fc"](self.head["fc_norm"](self.backbone(images).tokens[:, 0]))
        return logits


def probe_peer() -> Any:
    """timm's ViT with the head that facebookresearch/mae gives it in main_linprobe.py."""
    model = peer(pooling="class")
    norm = nn.BatchNorm1d(48, affine=False, eps=1e-6)
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.01, 4)  # type: ignore[arg-type]
    norm.num_batches_tracked.fill_(77)  # type: ignore[union-attr]
    model.head = nn.Sequential(norm, model.head)
    return model.eval()


def images(*size: int) -> Tensor:
    """Two images that are always the same."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))


def refusal(model: nn.Module, path: Path, **changes: Any) -> str:
    """The one line of a refusal, which left the model as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load(model, path, **changes)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Asserts the same names, types and numbers, bit for bit."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def released(path: Path, tensors: dict[str, Tensor], **more: object) -> Path:
    """Saves as facebookresearch/mae does."""
    args = Namespace(model="mae_vit_base_patch16", blr=1.5e-4, world_size=64)
    torch.save({"model": tensors, "epoch": 799, "args": args, "optimizer": {"state": {}}, **more}, path)
    return path


def load(model: nn.Module, path: Path, **changes: Any) -> Report:
    """Loads with what a fine-tuning task expects, but for the changes."""
    return load_weights(model, path, **{**PRETRAINED_NAMES, "allow_resized": ("pos_embed",), **changes})


def one_line(path: Path) -> str:
    """The one line of a reading that is refused."""
    with pytest.raises(UserError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# mmpretrain/models/backbones/vision_transformer.py: TransformerEncoderLayer (ln1, attn, ln2, ffn), whose ffn is mmcv's
# FFN: layers = Sequential(Sequential(Linear, activation, Dropout), Linear, Dropout)
MM_LAYER = {
    "norm1": "ln1",
    "attn.qkv": "attn.qkv",
    "attn.proj": "attn.proj",
    "norm2": "ln2",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
}


def to_mmpretrain(tensors: dict[str, Tensor], renamed: dict[str, str]) -> dict[str, Tensor]:
    """Names of mmpretrain for MAE's: layers by MM_LAYER, `renamed` by module, the rest of the backbone as it is."""
    out = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        start, _, rest = stem.partition(".")
        index, _, module = rest.partition(".")
        if start in ("blocks", "decoder_blocks"):
            place = "backbone.layers" if start == "blocks" else "neck.decoder_blocks"
            out[f"{place}.{index}.{MM_LAYER[module]}.{leaf}"] = tensor
        elif name in renamed:
            out[renamed[name]] = tensor
        elif stem in renamed:
            out[f"{renamed[stem]}.{leaf}"] = tensor
        else:
            out[f"backbone.{name}"] = tensor
    return out


MM_BACKBONE = {"patch_embed.proj": "backbone.patch_embed.projection", "norm": "backbone.ln1"}
# necks/mae_neck.py: MAEPretrainDecoder, whose norm is mmcv's build_norm_layer(norm_cfg, D, postfix=1), named ln1
MM_NECK = {
    **{name: f"neck.{name}" for name in ("mask_token", "decoder_pos_embed", "decoder_embed", "decoder_pred")},
    "decoder_norm": "neck.ln1",
}
# configs/mae/benchmarks/vit-base-p16_8xb128-coslr-100e_in1k.py: out_type avg_featmap (ln2 after pooling), final_norm
# False, LinearClsHead (heads/linear_head.py: fc)
MM_MEAN = {**MM_BACKBONE, "fc_norm": "backbone.ln2", "head": "head.fc"}
# configs/mae/benchmarks/vit-base-p16_8xb2048-linear-coslr-90e_in1k.py: ClsBatchNormNeck (necks/mae_neck.py: bn) and
# VisionTransformerClsHead (heads/vision_transformer_head.py: layers = Sequential(head=Linear))
MM_PROBE = {**MM_BACKBONE, "head.0": "neck.bn", "head.1": "head.layers.head"}


def to_solo(**more: Tensor) -> dict[str, Tensor]:
    """vturrisi/solo-learn solo/methods/mae.py: backbone (timm's names), decoder = MAEDecoder; base.py: classifier."""
    return {
        **{f"backbone.{name}": tensor for name, tensor in encoder().items()},
        "classifier.weight": torch.ones(100, 48),
        "classifier.bias": torch.ones(100),
        **{f"decoder.{name}": tensor for name, tensor in decoder().items()},
        **more,
    }
