"""Files whose ViT is another than the model's: one line that names the part; and what is said of a guess."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.classification.linear_head import LinearHead
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.weights.describe.inspect import inspect
from maekit.weights.load.backbone import load_backbone
from maekit.weights.load.load import load_weights
from maekit.weights.state.state_file import read_state
from tests.weights.helpers import encoder
from tests.weights.pretrainings.models import hf_model, timm_model


class Model(nn.Module):
    """A classifier on a ViT by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = ViT(load_size(name), image_size=(48, 48), final_norm=False)
        self.head = LinearHead(48, 5, pooling="mean", init_std=0.02)


def refused(name: str, path: Path, **changes: Any) -> str:
    """The one line by which a model on that ViT refuses a file."""
    given: dict[str, Any] = {"allow_new": ("head.*",), "allow_unused": ("norm.*",), "allow_resized": ("pos_embed",)}
    with pytest.raises(UserError) as caught:
        load_weights(Model(name), path, **{**given, **changes})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(path: Path, kind: str) -> Path:
    torch.save(timm_model(kind).state_dict(), path)
    return path


def test_a_dinov2_file_at_another_patch_size(tmp_path: Path) -> None:
    line = refused("vit_test_patch16_dinov2", saved(tmp_path / "a.pth", "dinov2"))
    assert "holds vit_test_patch8_dinov2 (48 wide, 3 blocks, 8 px patches), expected vit_test_patch16" in line
    assert "add --model.backbone vit_test_patch8_dinov2" in line


def test_registers_in_a_file_for_a_model_without_them_and_the_reverse(tmp_path: Path) -> None:
    with_them, without = saved(tmp_path / "a.pth", "dinov2 registers"), saved(tmp_path / "b.pth", "dinov2")
    line = refused("vit_test_patch8_dinov2", with_them)
    assert "got 4 register tokens, expected no register tokens, as the model has" in line
    assert "add --model.backbone vit_test_patch8_reg4_dinov2" in line
    line = refused("vit_test_patch8_reg4_dinov2", without)
    assert "got no register tokens, expected 4 register tokens, as the model has" in line
    assert "add --model.backbone vit_test_patch8_dinov2" in line


def test_rotary_positions_for_a_model_with_a_position_table_and_the_reverse(tmp_path: Path) -> None:
    line = refused("vit_test_patch8_reg4", saved(tmp_path / "a.pth", "dinov3"))
    assert "got no position table (rotary or relative positions), expected a position table, as the model has" in line
    assert "add --model.backbone vit_test_patch8_dinov3" in line
    line = refused("vit_test_patch8_dinov3", saved(tmp_path / "b.pth", "dinov2 registers"))
    assert "got a position table, expected no position table (rotary or relative positions)" in line


def test_parts_that_no_vit_here_has_are_named(tmp_path: Path) -> None:
    gates = {f"blocks.{index}.attn.gate.weight": torch.zeros(48, 48) for index in range(3)}
    torch.save({**encoder(), **gates}, tmp_path / "a.pth")
    assert "3 of its tensors have no place in the model: blocks.0-2.attn.gate.weight" in refused(
        "vit_test_patch8", tmp_path / "a.pth"
    )
    with pytest.raises(UserError, match=r"blocks\.0-2\.attn\.gate\.weight"):
        load_backbone(tmp_path / "a.pth", image_size=32)
    scaled = {f"blocks.{index}.gamma_{number}": torch.ones(48) for index in range(3) for number in (1, 2)}
    norm = {f"norm_pre.{leaf}": torch.ones(48) for leaf in ("weight", "bias")}
    torch.save({**encoder(), **scaled, **norm}, tmp_path / "b.pth")
    expected = "a ViT of another kind (48 wide, 3 blocks, 8 px patches, LayerScale, a norm before the blocks)"
    with pytest.raises(UserError) as caught:
        load_backbone(tmp_path / "b.pth", image_size=32)
    assert f"{expected}; no known size fits" in str(caught.value)
    with pytest.raises(UserError) as caught:
        convert(tmp_path / "b.pth", "timm", tmp_path / "c.pth")
    assert f"{expected}: no row of maekit/backbone/sizes.yaml has these together" in str(caught.value)


def test_a_file_that_fits_two_rows_says_both(tmp_path: Path) -> None:
    """Activations leave no trace in tensors: of CLIP's ViT GELU is assumed, and QuickGELU is named."""
    vit = ViT(load_size("vit_test_patch8_clip_quickgelu"), image_size=(32, 32))
    torch.save(vit.state_dict(), tmp_path / "a.pth")
    assert read_state(tmp_path / "a.pth").shape.names == ("vit_test_patch8_clip", "vit_test_patch8_clip_quickgelu")
    model = Model("vit_test_patch8_clip")
    report = load_weights(
        model, tmp_path / "a.pth", allow_new=("head.*",), allow_unused=("norm.*",), allow_resized=("pos_embed",)
    )
    assert any(
        "its ViT is vit_test_patch8_clip; its tensors fit vit_test_patch8_clip_quickgelu" in n for n in report.notes
    )
    assert inspect(tmp_path / "a.pth").sizes == ("vit_test_patch8_clip", "vit_test_patch8_clip_quickgelu")


def test_a_folder_of_transformers_with_another_activation_or_base(tmp_path: Path) -> None:
    for name, key, value, expected in (
        ("a", "hidden_act", "gelu", "got hidden_act 'gelu', expected silu"),
        ("b", "rope_theta", 10_000.0, "got rope_theta 10000.0, expected 100.0"),
    ):
        model = hf_model("dinov3 swiglu")
        setattr(model.config, key, value)
        model.save_pretrained(tmp_path / name)
        with pytest.raises(UserError, match=expected):
            read_state(tmp_path / name)


def test_a_layout_without_a_place_names_the_others(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        convert(saved(tmp_path / "a.pth", "dinov3"), "mae", tmp_path / "b.pth")
    assert "which mae has no place for as it is written here; convert it with `--to timm` or `--to hf`" in str(
        caught.value
    )


def test_a_load_accounts_for_every_tensor_and_tells_the_pretraining(tmp_path: Path) -> None:
    hf_model("dinov2").save_pretrained(tmp_path / "hf")
    report = load_weights(
        Model("vit_test_patch8_dinov2"),
        tmp_path / "hf",
        allow_new=("head.*",),
        allow_unused=("norm.*",),
        allow_resized=("pos_embed",),
    )
    assert (report.coverage, report.pretraining, report.resized) == (1.0, "dinov2", ("pos_embed",))
    assert set(report.unused) == {"encoder_mask_token", "norm.weight", "norm.bias"}
    listed = {*report.matched, *report.resized, *report.unused}
    assert listed == read_state(tmp_path / "hf").tensors.keys()
