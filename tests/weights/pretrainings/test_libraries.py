"""DINOv2, DINOv3 and I-JEPA as transformers and timm hold them: read, computed alike, and written back."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from maekit.backbone.sizes import load_size
from maekit.export.convert import convert
from maekit.system.plain import table
from maekit.weights.describe.inspect import inspect
from maekit.weights.describe.uses import uses
from maekit.weights.layouts.registry import layouts
from maekit.weights.load.backbone import load_backbone
from maekit.weights.read.shape import measure
from maekit.weights.read.vit_shapes import row_shapes
from maekit.weights.state.state_file import read_state
from tests.peers import in_timm
from tests.weights.helpers import same
from tests.weights.pretrainings.models import HF, TIMM, hf_model, pixels, timm_model, tokens

pytestmark = pytest.mark.numeric
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-9}


def written(source: Path, folder: Path) -> dict[str, Tensor]:
    folder.mkdir()
    convert(source, "timm", folder / "model.safetensors")
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", HF)
def test_a_folder_of_transformers_comes_and_goes(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, _, row = HF[kind]
    model, images = hf_model(kind), pixels(32, 32)
    model.save_pretrained(tmp_path / "hf")
    state = read_state(tmp_path / "hf")
    assert (state.shape.name, state.kind) == (row, "encoder")
    assert read_state(tmp_path / "hf", values=False).shape.name == row
    convert(tmp_path / "hf", "hf", tmp_path / "again")
    same(load_file(tmp_path / "again" / "model.safetensors"), load_file(tmp_path / "hf" / "model.safetensors"))
    again, info = getattr(transformers, f"{name}Model").from_pretrained(tmp_path / "again", output_loading_info=True)
    assert {key: list(found) for key, found in info.items() if found} == {}
    expected = tokens(model, images)
    torch.testing.assert_close(tokens(again.eval(), images), expected, **CLOSE)
    torch.testing.assert_close(tokens(load_backbone(tmp_path / "hf", image_size=32), images), expected, **CLOSE)
    written(tmp_path / "hf", tmp_path / "timm")
    close = {**CLOSE, "atol": 1e-5} if kind == "dinov2 registers" else CLOSE  # a position was added in fp32
    torch.testing.assert_close(tokens(in_timm(tmp_path / "timm"), images), expected, **close)


@pytest.mark.parametrize("kind", ["dinov2 swiglu", "dinov3 swiglu", "i-jepa"])
def test_names_in_memory_are_read_too(tmp_path: Path, kind: str) -> None:
    model = hf_model(kind)
    model.save_pretrained(tmp_path / "hf")
    torch.save(model.state_dict(), tmp_path / "a.pt")
    same(read_state(tmp_path / "a.pt").tensors, read_state(tmp_path / "hf").tensors)


@pytest.mark.parametrize("kind", TIMM)
def test_a_file_of_timm_comes_and_goes(tmp_path: Path, kind: str) -> None:
    model, images, row = timm_model(kind), pixels(32, 48 if "dinov3" in kind else 32), TIMM[kind][2]
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "a.safetensors")
    state = read_state(tmp_path / "a.safetensors")
    assert (state.shape.name, state.num_heads) == (row, 2)
    assert read_state(tmp_path / "a.safetensors", values=False).shape.name == row
    expected = tokens(model, images)
    torch.testing.assert_close(
        tokens(load_backbone(tmp_path / "a.safetensors", image_size=32), images), expected, **CLOSE
    )
    same(written(tmp_path / "a.safetensors", tmp_path / "timm"), dict(model.float().state_dict()))
    torch.testing.assert_close(tokens(in_timm(tmp_path / "timm"), images), expected, **CLOSE)
    convert(tmp_path / "a.safetensors", "hf", tmp_path / "hf")
    reread = read_state(tmp_path / "hf").tensors
    same({name: tensor for name, tensor in reread.items() if name != "encoder_mask_token"}, state.tensors)
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "hf").eval()
    torch.testing.assert_close(tokens(theirs, images), expected, **CLOSE)


def test_what_timm_has_no_place_for_is_said(tmp_path: Path) -> None:
    hf_model("dinov2 registers").save_pretrained(tmp_path / "registers")
    lines = convert(tmp_path / "registers", "timm", tmp_path / "a.pth")
    assert "folded: the class token's position into the token, as timm has no place for it beside registers" in lines
    assert "left out: encoder_mask_token (timm has no decoder and no mask token)" in lines
    assert len(convert(tmp_path / "a.pth", "timm", tmp_path / "b.pth")) == len(lines) - 2  # nothing is left to fold
    torch.save(timm_model("dinov3").state_dict(), tmp_path / "c.pth")
    lines = convert(tmp_path / "c.pth", "hf", tmp_path / "hf")
    assert "mask token: zeros, since the file has none; pre-training alone uses it" in lines
    lines = convert(tmp_path / "c.pth", "timm", tmp_path / "d.pth")
    assert any(line.startswith("left out: biases of q, k and v, which are all zero") for line in lines)


@pytest.mark.parametrize("name", ["Dinov2", "IJepa"])
def test_a_classifier_that_no_head_takes_is_beside(tmp_path: Path, name: str) -> None:
    """Of class token and patches' mean together, or of the mean of normalised patches: counted, and not loaded."""
    kind = {"Dinov2": "dinov2", "IJepa": "i-jepa"}[name]
    config = hf_model(kind).config
    config.num_labels = 5
    getattr(transformers, f"{name}ForImageClassification")(config).save_pretrained(tmp_path / "hf")
    facts = inspect(tmp_path / "hf")
    assert (facts.kind, facts.classifier, facts.size) == ("encoder", None, HF[kind][2])
    assert {"classifier.weight", "classifier.bias"} <= set(facts.unused)
    assert uses(facts)["fine_tuning"].possible
    load_backbone(tmp_path / "hf", image_size=32)


def test_the_7b_of_dinov3_has_no_biases_at_all() -> None:
    """It is built without, where the distilled ones have zeros that some leave out; nothing of it is computed here."""
    row = load_size("vit_7b_patch16_dinov3")
    shapes = row_shapes(row.name, (2, 2))
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    for name in ("timm-eva", "transformers-dinov3"):
        layout = layouts()[name]
        assert layout.holds(row)
        back = layout.to_ours(Path("a"), layout.from_ours(Path("a"), tensors), "")
        assert {n: t.shape for n, t in back.items() if n != "encoder_mask_token"} == shapes
        assert measure(back).names == (row.name,)
        config = dict(layout.config(row, tensors))
        said = dict(table(config.get("model_args"))) | config
        assert said.get("qkv_bias", said.get("query_bias")) is False
