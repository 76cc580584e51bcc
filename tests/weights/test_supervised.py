"""Supervised ViTs: AugReg's arrays of JAX give timm's tensors, and DeiT III's class token has no position."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.models.vision_transformer as timm_vit
import torch

from maekit.weights.state.state_file import read_state
from tests.weights.helpers import Small, images, load, one_line, refusal, same
from tests.weights.plain_vits import TINY_TIMM, assert_tokens, random

pytestmark = pytest.mark.numeric

LAYER = "Transformer/encoderblock_{}"
ATTENTION = f"{LAYER}/MultiHeadDotProductAttention_1"


def arrays(size: tuple[int, int] = (32, 32)) -> dict[str, np.ndarray[Any, Any]]:
    """A file of vit_jax/models_vit.py of google-research/vision_transformer: 48 wide, 3 blocks, 2 heads, 5 classes."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, 48),
        "embedding/kernel": (8, 8, 3, 48),
        "embedding/bias": (48,),
        "Transformer/posembed_input/pos_embedding": (1, size[0] * size[1] // 64 + 1, 48),
        "Transformer/encoder_norm/scale": (48,),
        "Transformer/encoder_norm/bias": (48,),
        "head/kernel": (48, 5),
        "head/bias": (5,),
    }
    for index in range(3):
        layer, attention = LAYER.format(index), ATTENTION.format(index)
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{layer}/{norm}/scale": (48,), f"{layer}/{norm}/bias": (48,)}
        for part in ("query", "key", "value"):
            shapes |= {f"{attention}/{part}/kernel": (48, 2, 24), f"{attention}/{part}/bias": (2, 24)}
        shapes |= {f"{attention}/out/kernel": (2, 24, 48), f"{attention}/out/bias": (48,)}
        shapes |= {f"{layer}/MlpBlock_3/Dense_0/kernel": (48, 192), f"{layer}/MlpBlock_3/Dense_0/bias": (192,)}
        shapes |= {f"{layer}/MlpBlock_3/Dense_1/kernel": (192, 48), f"{layer}/MlpBlock_3/Dense_1/bias": (48,)}
    draw = np.random.default_rng(3)
    return {name: draw.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_augreg_gives_what_timm_reads(tmp_path: Path, size: tuple[int, int]) -> None:
    np.savez(tmp_path / "S_8.npz", **arrays(size))  # type: ignore[arg-type]
    timms = timm_vit.VisionTransformer(**{**TINY_TIMM, "img_size": size}, num_classes=5).eval()
    timms.load_pretrained(str(tmp_path / "S_8.npz"))
    state = read_state(tmp_path / "S_8.npz")
    same(state.tensors, dict(timms.state_dict()))
    assert (state.layout, state.kind, state.said.pretraining) == ("augreg", "classifier_class", "supervised")
    assert (state.num_heads, state.knows_heads) == (2, True)
    if size == (32, 32):
        expected = timms.double().forward_features(images(*size).double())
        assert_tokens(tmp_path / "S_8.npz", expected, "vit_test_patch8", size)


def test_a_layer_before_the_classifier_is_counted_as_unused(tmp_path: Path) -> None:
    more = {"pre_logits/kernel": np.ones((48, 48), np.float32), "pre_logits/bias": np.ones(48, np.float32)}
    np.savez(tmp_path / "a.npz", **arrays(), **more)  # type: ignore[arg-type]
    report = load(Small(pooling="class"), tmp_path / "a.npz")
    assert report.unused == ("pre_logits/kernel", "pre_logits/bias")


def test_a_hybrid_of_jax_is_named(tmp_path: Path) -> None:
    root = {"conv_root/kernel": np.ones((7, 7, 3, 64), np.float32)}
    np.savez(tmp_path / "R50.npz", **arrays(), **root)  # type: ignore[arg-type]
    text = refusal(Small(pooling="class"), tmp_path / "R50.npz")
    assert text.endswith("; the file seems to hold a hybrid of a ResNet and a ViT")


def test_arrays_of_whole_numbers_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{**arrays(), "cls": np.ones((1, 1, 48), np.int32)})  # type: ignore[arg-type]
    assert "cls is torch.int32, expected floating numbers" in one_line(tmp_path / "a.npz")


@pytest.mark.parametrize("size", [(32, 32)])
@pytest.mark.parametrize("authors", [True, False])
def test_deit_iii_has_no_position_of_the_class_token(tmp_path: Path, size: tuple[int, int], authors: bool) -> None:
    settings = {**TINY_TIMM, "img_size": size, "no_embed_class": True, "init_values": 1e-4, "num_classes": 5}
    source = random(timm_vit.VisionTransformer(**settings))
    names = {".ls1.gamma": ".gamma_1", ".ls2.gamma": ".gamma_2"} if authors else {}
    tensors = dict(source.state_dict())
    for old, new in names.items():
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    torch.save({"model": tensors} if authors else tensors, tmp_path / "a.pth")
    expected = source.double().forward_features(images(*size).double())
    assert_tokens(tmp_path / "a.pth", expected, "vit_test_patch8_deit3", size)
    state = read_state(tmp_path / "a.pth")
    assert state.said.pretraining == ("deit_iii" if authors else "")
