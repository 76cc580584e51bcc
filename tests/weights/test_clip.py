"""CLIP's image tower: OpenAI's and open_clip's names, a TorchScript program, timm and transformers; what is beside."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch
import transformers
from torch import Tensor, nn

from maekit.weights.state.state_file import StateFile, read_state
from tests.numeric import assert_float64
from tests.peers import newest_names
from tests.weights.helpers import Small, images, refusal, same
from tests.weights.plain_vits import TINY, TINY_TIMM, assert_tokens, converted, random

pytestmark = pytest.mark.numeric

QUICK, PLAIN = "vit_test_patch8_clip_quickgelu", "vit_test_patch8_clip"
TEXT: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


class Tower(nn.Module):
    """clip/model.py's VisionTransformer by its names, computed with torch's own MultiheadAttention."""

    def __init__(self, quick: bool, size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        self.quick = quick
        self.conv1 = nn.Conv2d(3, 48, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(48))
        self.positional_embedding = nn.Parameter(torch.empty(size[0] * size[1] // 64 + 1, 48))
        self.ln_pre, self.ln_post = nn.LayerNorm(48), nn.LayerNorm(48)
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(self.block() for _ in range(3))})
        self.proj = nn.Parameter(torch.empty(48, 20))

    @staticmethod
    def block() -> nn.ModuleDict:
        mlp = nn.ModuleDict({"c_fc": nn.Linear(48, 192), "c_proj": nn.Linear(192, 48)})
        norms = {"ln_1": nn.LayerNorm(48), "ln_2": nn.LayerNorm(48)}
        return nn.ModuleDict({"attn": nn.MultiheadAttention(48, 2, batch_first=True), "mlp": mlp, **norms})

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, 48), x], 1) + self.positional_embedding
        x = self.ln_pre(x)
        blocks: Any = self.transformer["resblocks"]
        for block in blocks:
            y = block["ln_1"](x)
            x = x + block["attn"](y, y, y, need_weights=False)[0]
            y = block["mlp"]["c_fc"](block["ln_2"](x))
            y = y * torch.sigmoid(1.702 * y) if self.quick else nn.functional.gelu(y)
            x = x + block["mlp"]["c_proj"](y)
        out: Tensor = self.ln_post(x)
        return out


class Clip(nn.Module):
    """Both towers by OpenAI's names, of the text's a little, and the numbers that their programs hold."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.visual = tower
        self.text_projection, self.logit_scale = nn.Parameter(torch.ones(16, 20)), nn.Parameter(torch.ones(()))
        self.token_embedding = nn.Embedding(20, 16)
        self.register_buffer("input_resolution", torch.tensor(32))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.visual(x)
        return out


def state_of(model: nn.Module, **leave: str) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if name not in leave.values()}


def checked(path: Path, expected: Tensor, name: str, size: tuple[int, int] = (32, 32)) -> StateFile:
    assert_tokens(path, expected, name, size)
    state = read_state(path)
    assert state.said.pretraining == "clip"
    return state


@pytest.mark.filterwarnings("ignore")
def test_openais_program_is_read_without_being_run(tmp_path: Path) -> None:
    model = random(Clip(Tower(quick=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.trace(model, images(32, 32), check_trace=False)  # type: ignore[no-untyped-call]
        program.save(str(tmp_path / "ViT-T-8.pt"))
    state = checked(tmp_path / "ViT-T-8.pt", model.double()(images(32, 32).double()), QUICK)
    assert state.chosen is not None
    assert state.chosen.beside == {"text tower": 4, "projection": 1}


def test_open_clips_names_are_taken_for_gelu_and_that_is_said(tmp_path: Path) -> None:
    model = random(Clip(Tower(quick=False, size=(16, 48))))
    tensors = {f"module.{name}": t for name, t in state_of(model, leave="input_resolution").items()}
    torch.save({"state_dict": tensors, "epoch": 32}, tmp_path / "a.pt")
    expected = model.double()(images(16, 48).double())
    state = read_state(tmp_path / "a.pt")
    assert "nothing beside the tensors says whether it is QuickGELU" in state.said.notes[0]
    assert state.shape.name == PLAIN
    torch.save({"state_dict": tensors, "image_size": [16, 48]}, tmp_path / "b.pt")
    checked(tmp_path / "b.pt", expected, PLAIN, (16, 48))


@pytest.mark.parametrize("quick", [True, False])
def test_open_clips_configuration_says_the_activation(tmp_path: Path, quick: bool) -> None:
    model = random(Clip(Tower(quick=quick)))
    torch.save(state_of(model, leave="input_resolution"), tmp_path / "open_clip_pytorch_model.bin")
    config = {"model_cfg": {"embed_dim": 20, **({"quick_gelu": True} if quick else {})}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    expected = model.double()(images(32, 32).double())
    state = checked(tmp_path / "open_clip_pytorch_model.bin", expected, QUICK if quick else PLAIN)
    assert state.said.notes == ()


def test_half_precision_is_openais_and_so_quickgelu(tmp_path: Path) -> None:
    model = random(Clip(Tower(quick=True))).half()
    torch.save(state_of(model, leave="input_resolution"), tmp_path / "a.pt")
    checked(tmp_path / "a.pt", model.double()(images(32, 32).double()), QUICK)


@pytest.mark.parametrize(("act", "name"), [("quick_gelu", QUICK), ("gelu", PLAIN)])
@newest_names
def test_transformers_image_towers_give_their_tokens(tmp_path: Path, act: str, name: str) -> None:
    vision: dict[str, Any] = {**TINY, "hidden_act": act, "image_size": 40}
    source = random(transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=TEXT)))
    source.save_pretrained(tmp_path / "both")
    tower = source.vision_model.double()
    expected = tower.post_layernorm(tower(images(40, 40).double()).last_hidden_state)
    state = checked(tmp_path / "both", expected, name, (40, 40))
    assert (state.num_heads, state.knows_heads) == (2, True)
    for other in ("CLIPVisionModel", "CLIPVisionModelWithProjection"):
        alone = random(getattr(transformers, other)(transformers.CLIPVisionConfig(**vision)))
        alone.save_pretrained(tmp_path / other)
        torch.save(alone.state_dict(), tmp_path / f"{other}.pth")
        same(read_state(tmp_path / f"{other}.pth").tensors, read_state(tmp_path / other).tensors)
        assert read_state(tmp_path / other).shape.name == name


@newest_names
def test_what_is_beside_an_image_tower_is_counted(tmp_path: Path) -> None:
    source = transformers.CLIPModel(transformers.CLIPConfig(vision_config=TINY, text_config=TEXT))
    source.save_pretrained(tmp_path)
    chosen = read_state(tmp_path).chosen
    assert chosen is not None
    assert chosen.beside == {"text tower": 22, "projection": 1}


@pytest.mark.parametrize("quick", [True, False])
def test_timms_towers_give_their_tokens(tmp_path: Path, quick: bool) -> None:
    named = "vit_base_patch16_clip_quickgelu_224" if quick else "vit_base_patch16_clip_224"
    source = random(getattr(timm_vit, named)(**TINY_TIMM, num_classes=0))
    torch.save(source.state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth.json").write_text(f'{{"architecture": "{named}"}}')
    checked(tmp_path / "a.pth", source.double().forward_features(images(32, 32).double()), QUICK if quick else PLAIN)


@newest_names
@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_a_tower_goes_to_transformers_and_back(tmp_path: Path, act: str) -> None:
    source = random(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**TINY, hidden_act=act)))
    source.save_pretrained(tmp_path / "a")
    written = converted(tmp_path / "a", "hf", tmp_path / "hf")
    same(read_state(written).tensors, read_state(tmp_path / "a").tensors)
    tower: Any = transformers.CLIPVisionModel
    model, told = tower.from_pretrained(written, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    same(dict(model.state_dict()), dict(source.state_dict()))
    x = images(32, 32).double()
    assert_float64(model.double()(x).last_hidden_state, source.double()(x).last_hidden_state)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("visual.layer1.0.conv1.weight", "a CLIP whose image tower is a ResNet"),
        (
            "visual.trunk.stages.0.blocks.0.conv_dw.weight",
            "a CLIP around a network of timm (name it FILE#visual.trunk)",
        ),
        ("module.visual.blocks.0.norm1.weight", "a CLIP around an EVA"),
    ],
)
def test_other_towers_are_named(tmp_path: Path, name: str, what: str) -> None:
    torch.save({"state_dict": {name: torch.ones(1), "logit_scale": torch.ones(())}}, tmp_path / "a.pt")
    assert refusal(Small(), tmp_path / "a.pt").endswith(f"; the file seems to hold {what}")
