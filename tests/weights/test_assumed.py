"""Nothing is guessed in silence: what a file does not say, and the command takes for granted, is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from maekit.base.model import TransferModel
from maekit.base.spec import DataSpec
from maekit.cli import main
from maekit.export.convert import convert
from maekit.features.source import find_source
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.weights.load.backbone import load_backbone
from maekit.weights.load.bands import Bands
from maekit.weights.load.load import load_weights
from tests.numeric import assert_float64
from tests.weights.helpers import Small, decoder, encoder, images, load, peer, released

pytestmark = pytest.mark.numeric

SIZES: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 192}
DECODER: dict[str, Any] = {
    "decoder_hidden_size": 64,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 256,
}


def full() -> dict[str, Tensor]:
    return {**encoder(), **decoder()}


def mae_folder(folder: Path, **settings: Any) -> Any:
    """A ViTMAE that transformers saved, and the network."""
    config = transformers.ViTMAEConfig(**{**SIZES, **DECODER, "image_size": 32, "patch_size": 8, **settings})
    torch.manual_seed(0)
    network: Any = transformers.ViTMAEForPreTraining(config)
    network.eval().save_pretrained(folder)
    return network


def pretrainer(**changes: Any) -> TransferModel:
    values: dict[str, Any] = load_recipe(find_task("mae_pretrain"), "smoke").values["model"]
    numbers = {"backbone": "vit_test_patch8", "decoder_width": 64, "decoder_depth": 2, "decoder_heads": 2}
    spec = DataSpec((), (32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), target="none")
    model: TransferModel = find_task("mae_pretrain").load().Model.build(spec, {**values, **numbers, **changes})
    return model


def notes(model: TransferModel) -> str:
    report = model.load_start(complete=False)
    assert report is not None
    return "\n".join(line for line in report.lines() if line.startswith("  assumed"))


def test_a_pretraining_from_a_decoder_says_what_it_assumes(tmp_path: Path) -> None:
    path = str(released(tmp_path / "full.pth", full()))
    found = notes(pretrainer(weights=path, target="normalised_pixels"))
    for part in ("2 attention heads, as", "2 attention heads in the decoder", "normalised pixels as what the decoder"):
        assert part in found


def test_a_folder_of_transformers_says_its_heads_and_its_target(tmp_path: Path) -> None:
    mae_folder(tmp_path / "mae", decoder_num_attention_heads=2, norm_pix_loss=False)
    found = notes(pretrainer(weights=str(tmp_path / "mae"), target="normalised_pixels"))
    assert "heads" not in found
    assert "the file predicted plain pixels" in found and "eps" in found
    found = notes(pretrainer(weights=str(tmp_path / "mae"), target="pixels"))
    assert "pixels" not in found


def test_other_colours_than_the_files_are_said(tmp_path: Path) -> None:
    path = released(tmp_path / "a.pth", encoder(), input={"mean": [0.5] * 3, "std": [0.5] * 3})
    settings: dict[str, Any] = {"allow_new": ("head.*",), "allow_unused": ("norm.*",), "allow_resized": ()}
    report = load_weights(Small(), path, **settings, bands=Bands(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))
    assert any("[0.5, 0.5, 0.5]" in note for note in report.notes)
    report = load_weights(Small(), path, **settings, bands=Bands(mean=(0.5,) * 3, std=(0.5,) * 3))
    assert not any("normalised" in note for note in report.notes)


@pytest.mark.parametrize("to", ["hf", "timm"])
def test_convert_says_the_heads_it_writes(tmp_path: Path, to: Any) -> None:
    lines = "\n".join(convert(released(tmp_path / "a.pth", full()), to, tmp_path / "out"))
    assert "assumed: 2 attention heads, as vit_test_patch8 has" in lines
    assert ("assumed: 2 attention heads in the decoder" in lines) == (to == "hf")
    assert ("assumed: mask_ratio 0.75" in lines) == (to == "hf")


def test_inspect_names_what_is_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "inspect", str(released(tmp_path / "a.pth", full()))]) == 0
    printed = capsys.readouterr().out
    assert "2 heads assumed" in printed and "heads not said (2 assumed, 32 wide each)" in printed
    assert "not said whether of normalised pixels" in printed
    mae_folder(tmp_path / "mae")
    assert main(["weights", "inspect", str(tmp_path / "mae")]) == 0
    printed = capsys.readouterr().out
    assert "assumed" not in printed and "not said" not in printed


def test_features_and_reconstructions_say_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, photos = released(tmp_path / "a.pth", full()), tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 32), (9, 90, 200)).save(photos / "a.png")
    for words in (["embed", str(photos)], ["attention", str(photos)], ["reconstruct", str(photos)]):
        out = str(tmp_path / words[0])
        assert main([*words, "--weights", str(file), "--output", out, "--device", "cpu"]) == 0
        printed = capsys.readouterr().out
        assert "assumed: 2 attention heads, as vit_test_patch8 has" in printed, words
        assert "ImageNet's mean" in printed, words
    assert main(["reconstruct", str(photos), "--weights", "mae_vit_smoke", "--output", str(tmp_path / "smoke")]) == 0
    assert "assumed" not in capsys.readouterr().out


def test_a_processor_beside_the_weights_is_used(tmp_path: Path) -> None:
    mae_folder(tmp_path / "mae")
    assert any("ImageNet" in line for line in find_source(str(tmp_path / "mae")).assumed)
    said: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"shortest_edge": 40}}
    said |= {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "mae" / "preprocessor_config.json").write_text(json.dumps(said))
    source = find_source(str(tmp_path / "mae"))
    assert source.assumed == ()
    assert source.input == {"image_size": 32, "crop_fraction": 0.8, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.mark.parametrize("eps", [1e-12, 1e-2])
def test_features_are_computed_with_the_eps_of_the_config(tmp_path: Path, eps: float) -> None:
    network = mae_folder(tmp_path / "mae", layer_norm_eps=eps, mask_ratio=0.0)
    small = 0.01 * images(32, 32).double()  # where an eps shows
    noise = torch.arange(16.0).expand(2, -1)
    with torch.no_grad():
        expected = network.double().vit(small, noise=noise).last_hidden_state
        found = load_backbone(tmp_path / "mae", image_size=32).double()(small).tokens
    assert_float64(found, expected)
    convert(tmp_path / "mae", "hf", tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["layer_norm_eps"] == eps
    assert any("eps" in line for line in convert(tmp_path / "mae", "timm", tmp_path / "b.pth"))


def test_published_sizes_have_published_heads(tmp_path: Path) -> None:
    """A ViT-B has 12 heads everywhere, so nothing is said of them."""
    from maekit.weights.load.assumed import says_heads
    from maekit.weights.read.shape import measure
    from maekit.weights.state.state_file import StateFile

    blocks = {f"blocks.{index}.norm1.weight": torch.ones(768) for index in range(12)}
    tensors = {"patch_embed.proj.weight": torch.ones(768, 3, 16, 16), **blocks}
    assert says_heads(StateFile("mae", "encoder", tensors, {}, shape=measure(tensors)))
    assert not says_heads(StateFile("mae", "encoder", encoder(), {}, shape=measure(encoder())))


def test_a_run_that_was_read_says_nothing_more(tmp_path: Path) -> None:
    card = {"config": {"model": {"backbone": "vit_test_patch8"}}, "class_names": list("abcde")}
    state = {f"model.{name}": tensor for name, tensor in Small().state_dict().items()}
    torch.save({"state_dict": state, "maekit": card}, tmp_path / "best.ckpt")
    assert load(Small(), tmp_path / "best.ckpt", allow_new=(), allow_unused=()).notes == ()
    assert load(Small(), released(tmp_path / "a.pth", dict(peer().state_dict()))).notes != ()
