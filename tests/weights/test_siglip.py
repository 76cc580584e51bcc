"""SigLIP: one row of sizes.yaml and one adapter for transformers' names; timm's names need none."""

from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch
import transformers

from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64
from tests.peers import newest_names
from tests.weights.helpers import images, same
from tests.weights.plain_vits import TINY, TINY_TIMM, assert_tokens, converted, random

pytestmark = pytest.mark.numeric

NAME = "vit_test_patch8_siglip"
TEXT: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


@newest_names
def test_transformers_siglip_gives_its_tokens(tmp_path: Path) -> None:
    source = random(transformers.SiglipModel(transformers.SiglipConfig(vision_config=TINY, text_config=TEXT)))
    source.save_pretrained(tmp_path / "both")
    expected = source.vision_model.double()(images(32, 32).double()).last_hidden_state
    assert_tokens(tmp_path / "both", expected, NAME)
    chosen = read_state(tmp_path / "both").chosen
    assert chosen is not None
    assert set(chosen.beside) == {"text tower", "pooling by attention"}
    alone = random(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**{**TINY, "image_size": 40})))
    alone.save_pretrained(tmp_path / "alone")
    assert_tokens(tmp_path / "alone", alone.double()(images(40, 40).double()).last_hidden_state, NAME, (40, 40))


@newest_names
def test_an_image_tower_goes_to_transformers_and_back(tmp_path: Path) -> None:
    config = transformers.SiglipVisionConfig(**TINY, vision_use_head=False)
    source = random(transformers.SiglipVisionModel(config))
    source.save_pretrained(tmp_path / "a")
    written = converted(tmp_path / "a", "hf", tmp_path / "hf")
    same(read_state(written).tensors, read_state(tmp_path / "a").tensors)
    tower: Any = transformers.SiglipVisionModel
    model, told = tower.from_pretrained(written, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    same(dict(model.state_dict()), dict(source.state_dict()))
    x = images(32, 32).double()
    assert_float64(model.double()(x).last_hidden_state, source.double()(x).last_hidden_state)


def test_timms_siglip_is_read_without_its_pooling(tmp_path: Path) -> None:
    settings = {**TINY_TIMM, "class_token": False, "global_pool": "map", "act_layer": "gelu_tanh", "num_classes": 0}
    source = random(timm_vit.VisionTransformer(**settings))
    torch.save(source.state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth.json").write_text('{"architecture": "vit_base_patch16_siglip_224"}')
    assert_tokens(tmp_path / "a.pth", source.double().forward_features(images(32, 32).double()), NAME)
    assert read_state(tmp_path / "a.pth").said.pretraining == "siglip"
