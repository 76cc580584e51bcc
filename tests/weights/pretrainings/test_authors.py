"""Files as the authors of DINO, DINOv2, DINOv3 and I-JEPA save them, their names written here from their sources."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.errors import UserError
from maekit.weights.describe.inspect import inspect
from maekit.weights.load.backbone import load_backbone
from maekit.weights.state.state_file import read_state
from tests.weights.helpers import encoder, same
from tests.weights.pretrainings.files import State, dino_head, dinov2, dinov3, prefixed, renamed
from tests.weights.pretrainings.models import hf_model, pixels, tokens

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("registers", [False, True])
def test_a_backbone_of_dinov2(tmp_path: Path, registers: bool) -> None:
    state, model = dinov2(registers)
    torch.save(state, tmp_path / "a.pth")
    found = read_state(tmp_path / "a.pth")
    assert (found.layout, found.kind, found.said.pretraining) == ("dinov2", "encoder", "dinov2")
    assert found.shape.names == ("vit_test_patch8_reg4_dinov2" if registers else "vit_test_patch8_dinov2",)
    assert read_state(tmp_path / "a.pth", values=False).shape.names == found.shape.names
    assert found.tensors.keys() - {"encoder_mask_token"} == {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2").replace("register_tokens", "reg_token")
        for name in state.keys() - {"mask_token"}
    }
    images = pixels(32, 32)
    found_tokens = tokens(load_backbone(tmp_path / "a.pth", image_size=32), images)
    torch.testing.assert_close(found_tokens, tokens(model, images), rtol=0, atol=1e-9)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_teacher_of_dinov2s_training_in_chunks(tmp_path: Path, parts: int) -> None:
    """FSDP wraps runs of blocks, whose numbers then count on: blocks.1.1 is the second of all."""
    state, _ = dinov2()
    torch.save(state, tmp_path / "a.pth")
    in_chunks = renamed(state, (r"^blocks\.(\d+)\.", r"blocks.0.\1." if parts == 1 else r"blocks.\1.\1."))
    teacher = {**prefixed("backbone.", in_chunks), **prefixed("dino_head.", dino_head())}
    teacher |= prefixed("ibot_head.", dino_head())
    torch.save({"teacher": teacher}, tmp_path / "b.pth")
    found = read_state(tmp_path / "b.pth")
    assert (found.layout, found.shape.name) == ("dinov2", "vit_test_patch8_dinov2")
    plain = {name: tensor for name, tensor in found.tensors.items() if "_head." not in name}
    same(plain, read_state(tmp_path / "a.pth").tensors)
    load_backbone(tmp_path / "b.pth", image_size=32)


def test_the_fused_swiglu_of_dinov2(tmp_path: Path) -> None:
    model = hf_model("dinov2 swiglu")
    model.save_pretrained(tmp_path / "hf")
    ours = read_state(tmp_path / "hf").tensors
    theirs = renamed(
        ours,
        (r"gamma_(\d)", r"ls\1.gamma"),
        (r"mlp\.fc1", "mlp.w12"),
        (r"mlp\.fc2", "mlp.w3"),
        ("encoder_mask_token", "mask_token"),
    )
    torch.save(theirs, tmp_path / "a.pth")
    found = read_state(tmp_path / "a.pth")
    assert (found.layout, found.shape.name) == ("dinov2", "vit_smoke_plus_patch8_dinov2")
    same(found.tensors, ours)


@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("teacher", [False, True])
def test_a_backbone_of_dinov3(tmp_path: Path, swiglu: bool, teacher: bool) -> None:
    state, model = dinov3(swiglu)
    state |= {"local_cls_norm.weight": torch.ones(48), "local_cls_norm.bias": torch.ones(48)}
    contents = {"teacher": prefixed("backbone.", state) | prefixed("dino_head.", dino_head())} if teacher else state
    torch.save(contents, tmp_path / "a.pth")
    found = read_state(tmp_path / "a.pth")
    assert (found.layout, found.kind, found.num_heads) == ("dinov3", "encoder", 2)
    assert found.shape.names == ("vit_test_plus_patch8_dinov3" if swiglu else "vit_test_patch8_dinov3",)
    assert not found.tensors["blocks.0.attn.qkv.bias"].chunk(3)[1].any()
    assert read_state(tmp_path / "a.pth", values=False).shape.names == found.shape.names
    images = pixels(32, 48)
    found_tokens = tokens(load_backbone(tmp_path / "a.pth", image_size=32), images)
    torch.testing.assert_close(found_tokens, tokens(model, images), rtol=0, atol=1e-9)


def test_rotary_periods_of_another_base_are_refused(tmp_path: Path) -> None:
    state, _ = dinov3()
    torch.save({**state, "rope_embed.periods": 10_000 ** (torch.arange(6) / 6)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"periods 1 to 2\.15e\+03, expected 1 to 46\.4 \(base 100\)"):
        read_state(tmp_path / "a.pth")


def dino(path: Path, *, distributed: bool = False) -> Path:
    """A checkpoint as main_dino.py saves it; a teacher is wrapped too where it has normalisations over batches."""
    student = {name: tensor + 1 for name, tensor in encoder().items()}
    networks = {"student": ("module.", student), "teacher": ("module." if distributed else "", encoder())}
    saved = {
        key: prefixed(start, {**prefixed("backbone.", vit), **prefixed("head.", dino_head())})
        for key, (start, vit) in networks.items()
    }
    torch.save({**saved, "optimizer": {}, "epoch": 3, "dino_loss": {"center": torch.zeros(1, 64)}}, path)
    return path


@pytest.mark.parametrize("distributed", [False, True])
def test_the_teacher_of_dino_is_meant(tmp_path: Path, distributed: bool) -> None:
    path = dino(tmp_path / "a.pth", distributed=distributed)
    state = read_state(path)
    assert (state.layout, state.kind, state.said.pretraining) == ("dino", "encoder", "dino")
    same({name: tensor for name, tensor in state.tensors.items() if not name.startswith("dino_head.")}, encoder())
    assert state.chosen is not None
    assert (state.chosen.key, state.chosen.others) == ("teacher", ("student",))
    student = read_state(f"{path}#student")
    assert student.layout == "dino"
    assert torch.equal(student.tensors["norm.weight"], encoder()["norm.weight"] + 1)
    load_backbone(path, image_size=32)
    facts = inspect(path)
    assert facts.pretraining == "dino"
    assert facts.beside == {"student": 50, "dino_loss": 1}  # 42 of the ViT, 8 of its head


def i_jepa(path: Path, start: str = "module.") -> Path:
    """A checkpoint as src/train.py saves it: fixed positions of the patches alone, and no class token."""
    vit = {name: tensor for name, tensor in encoder().items() if name != "cls_token"}
    vit["pos_embed"] = vit["pos_embed"][:, 1:]
    other = {name: tensor + 1 for name, tensor in vit.items()}
    predictor = {"mask_token": torch.zeros(1, 1, 24), "predictor_embed.weight": torch.zeros(24, 48)}
    sets = {"encoder": other, "predictor": predictor, "target_encoder": vit}
    saved = {key: prefixed(start, tensors) for key, tensors in sets.items()}
    torch.save({**saved, "opt": {}, "scaler": None, "epoch": 1, "loss": 0.1}, path)
    return path


@pytest.mark.parametrize("start", ["module.", ""])
def test_the_target_encoder_of_i_jepa_is_meant(tmp_path: Path, start: str) -> None:
    path = i_jepa(tmp_path / "a.pth.tar", start)
    state = read_state(path)
    assert (state.layout, state.kind, state.shape.names) == ("i-jepa", "encoder", ("vit_test_patch8_ijepa",))
    assert torch.equal(state.tensors["norm.weight"], encoder()["norm.weight"])
    assert state.chosen is not None
    assert (state.chosen.key, dict(state.chosen.beside)) == ("target_encoder", {"encoder": 41, "predictor": 2})
    assert torch.equal(read_state(f"{path}#encoder").tensors["norm.weight"], encoder()["norm.weight"] + 1)
    vit = load_backbone(path, image_size=32)
    assert vit.num_prefix == 0
    assert vit(pixels(32, 32).float()).tokens.shape == (2, 16, 48)


@pytest.mark.parametrize("make", [dinov2, lambda: dinov2(True), dinov3, lambda: dinov3(True)])
def test_no_tensor_of_a_file_is_lost(tmp_path: Path, make: Callable[[], tuple[State, Any]]) -> None:
    """Every number is in our names, but for what is computed (periods) or applied (masks of biases)."""
    state, _ = make()
    torch.save(state, tmp_path / "a.pth")
    computed = {name for name in state if name.endswith(("rope_embed.periods", "bias_mask"))}
    numbers = sum(state[name].numel() for name in state.keys() - computed)
    assert sum(tensor.numel() for tensor in read_state(tmp_path / "a.pth").tensors.values()) == numbers
