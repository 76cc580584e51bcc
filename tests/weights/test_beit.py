"""BEiT, BEiT v2 and SimMIM: files of the authors, timm and transformers give their tokens, and go back bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from maekit.backbone.table_resize import resize_bias_table
from maekit.errors import UserError
from maekit.weights.load.backbone import load_backbone
from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64
from tests.peers import newest_names
from tests.weights.helpers import images, same
from tests.weights.plain_vits import TINY, assert_tokens, beit, beit_pretrained, converted, random

pytestmark = pytest.mark.numeric

BEIT = "vit_test_patch8_beit"


@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_timms_and_the_authors_names_give_timms_tokens(tmp_path: Path, size: tuple[int, int]) -> None:
    source = beit(size=size)
    torch.save({"model": source.state_dict()}, tmp_path / "beit.pth")
    expected = source.double().forward_features(images(*size).double())
    assert_tokens(tmp_path / "beit.pth", expected, BEIT, size)
    assert read_state(tmp_path / "beit.pth").said.pretraining == ""  # BEiT and BEiT v2 have the same names then


@pytest.mark.parametrize("second", [False, True])
def test_the_table_of_a_pretraining_goes_into_each_block(tmp_path: Path, second: bool) -> None:
    source = beit(shared=True)
    torch.save({"model": beit_pretrained(source, second=second)}, tmp_path / "pre.pth")
    assert_tokens(tmp_path / "pre.pth", source.double().forward_features(images(32, 32).double()), BEIT)
    state = read_state(tmp_path / "pre.pth")
    assert (state.layout, state.said.pretraining) == ("beit", "beit_v2" if second else "beit")
    assert "is read into each block" in state.said.notes[0]


def test_simmim_is_the_encoder_beside_its_convolution(tmp_path: Path) -> None:
    source = beit(shared=True)
    encoder = {**source.state_dict(), "mask_token": torch.ones(1, 1, 48)}
    decoder = {"decoder.0.weight": torch.ones(192, 48, 1, 1), "decoder.0.bias": torch.ones(192)}
    torch.save({"model": {**{f"encoder.{n}": t for n, t in encoder.items()}, **decoder}}, tmp_path / "a.pth")
    expected = source.double().forward_features(images(32, 32).double())
    assert_tokens(tmp_path / "a.pth", expected, "vit_test_patch8_simmim")
    assert read_state(tmp_path / "a.pth").said.pretraining == "simmim"


TRANSFORMERS = [
    ("BeitModel", {"use_relative_position_bias": True, "use_mean_pooling": False}),
    ("BeitForImageClassification", {"use_relative_position_bias": True, "num_labels": 5}),
    ("BeitForMaskedImageModeling", {"use_shared_relative_position_bias": True, "use_mask_token": True}),
]


def theirs(name: str, settings: dict[str, Any]) -> Any:
    return random(getattr(transformers, name)(transformers.BeitConfig(**{**TINY, **settings})))


def tokens_of(source: Any, name: str) -> Tensor:
    """Of square images: transformers takes height and width of a table for each other (5.24)."""
    model = (source if name == "BeitModel" else source.beit).double()
    tokens: Tensor = model(images(32, 32).double()).last_hidden_state
    return source.layernorm.double()(tokens) if "Masked" in name else tokens


@newest_names
@pytest.mark.parametrize(("name", "settings"), TRANSFORMERS)
def test_transformers_beit_gives_its_tokens(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    source = theirs(name, settings)
    source.save_pretrained(tmp_path / "hf")
    torch.save(source.state_dict(), tmp_path / "memory.pth")
    same(read_state(tmp_path / "memory.pth").tensors, read_state(tmp_path / "hf").tensors)
    assert_tokens(tmp_path / "hf", tokens_of(source, name), BEIT)


def test_tables_are_resized_to_the_models_grid(tmp_path: Path) -> None:
    """timm's own Beit of the new grid, given the file's numbers and tables resized as BEiT resizes them."""
    source, wide = beit(), beit(size=(40, 64))
    torch.save({"model": source.state_dict()}, tmp_path / "a.pth")
    new = {n: resize_bias_table(t, (4, 4), (5, 8)) if "table" in n else t for n, t in source.state_dict().items()}
    wide.load_state_dict(new)
    assert_tokens(tmp_path / "a.pth", wide.double().forward_features(images(40, 64).double()), BEIT, (40, 64))


def test_a_table_of_no_known_grid_is_one_line(tmp_path: Path) -> None:
    torch.save({"model": beit(size=(16, 48)).state_dict()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"blocks.0.attn.position.table: got float32 \[36, 2\], expected") as caught:
        load_backbone(tmp_path / "a.pth", image_size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_a_file_goes_to_timm_and_back(tmp_path: Path, pool: str) -> None:
    source = beit(num_classes=5, global_pool=pool)
    torch.save({"model": source.state_dict()}, tmp_path / "a.pth")
    written = torch.load(converted(tmp_path / "a.pth", "timm", tmp_path / "timm.pth"), weights_only=True)
    same(written, source.state_dict())
    same(read_state(tmp_path / "timm.pth").tensors, read_state(tmp_path / "a.pth").tensors)


@newest_names
@pytest.mark.parametrize(("name", "settings"), TRANSFORMERS[:2])
def test_a_file_goes_to_transformers_and_back(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    source = theirs(name, {**settings, "layer_norm_eps": 1e-6})
    torch.save(source.state_dict(), tmp_path / "a.pth")
    written = converted(tmp_path / "a.pth", "hf", tmp_path / "hf")
    same(read_state(written).tensors, read_state(tmp_path / "a.pth").tensors)
    model, told = getattr(transformers, name).from_pretrained(written, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    same(dict(model.state_dict()), dict(source.state_dict()))
    assert_float64(tokens_of(model, name), tokens_of(source, name))
