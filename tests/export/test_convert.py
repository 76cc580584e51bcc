"""Converted weights hold the same numbers and compute the same in the libraries they are for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.export.convert import Target, convert
from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64, assert_fp32
from tests.peers import newest_names
from tests.weights.helpers import (
    Probe,
    Small,
    decoder,
    encoder,
    images,
    load,
    peer,
    probe_peer,
    released,
    same,
)

pytestmark = pytest.mark.numeric

Make = Callable[[], dict[str, Tensor]]


def full() -> dict[str, Tensor]:
    return {**encoder(), **decoder()}


def mean() -> dict[str, Tensor]:
    return dict(peer(pooling="mean").state_dict())


def token() -> dict[str, Tensor]:
    return dict(peer(pooling="class").state_dict())


def probe() -> dict[str, Tensor]:
    return dict(probe_peer().state_dict())


def refused(source: Path, to: Target, out: Path) -> str:
    """The one line of a conversion that is refused, which left nothing behind."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        convert(source, to, out)
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.rglob("*")) == before
    return str(caught.value)


def reloaded(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """What from_pretrained makes of a folder, which finds every tensor and remarks on nothing."""
    capfd.readouterr()
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert {key: list(found) for key, found in info.items() if found} == {}
    printed = capfd.readouterr()
    assert not [
        word for word in ("newly initialized", "not used", "MISSING", "UNEXPECTED") if word in printed.out + printed.err
    ]
    return model.eval()


# round trips


@pytest.mark.parametrize("make", [encoder, full, token])
def test_hf_and_back_keeps_every_bit(tmp_path: Path, make: Make) -> None:
    source = released(tmp_path / "a.pth", make())
    convert(source, "hf", tmp_path / "hf")
    assert read_state(tmp_path / "hf").layout == "transformers"
    same(read_state(tmp_path / "hf").tensors, make())
    convert(tmp_path / "hf", "mae", tmp_path / "back.pth")
    contents = torch.load(tmp_path / "back.pth", weights_only=True)
    assert contents.keys() == {"model", "args" if make is full else "input"}
    same(contents["model"], make())


@pytest.mark.parametrize("out", ["b.safetensors", "b.pth"])
@pytest.mark.parametrize("make", [encoder, mean, token])
def test_timm_and_back_keeps_every_bit(tmp_path: Path, make: Make, out: str) -> None:
    convert(released(tmp_path / "a.pth", make()), "timm", tmp_path / out)
    found = load_file(tmp_path / out) if out.endswith("safetensors") else torch.load(tmp_path / out, weights_only=True)
    same(found, make())
    convert(tmp_path / out, "mae", tmp_path / "back.pth")
    same(torch.load(tmp_path / "back.pth", weights_only=True)["model"], make())


@pytest.mark.parametrize("make", [encoder, full, mean, token, probe])
def test_mae_keeps_every_bit_of_every_kind(tmp_path: Path, make: Make) -> None:
    lines = convert(released(tmp_path / "a.pth", make()), "mae", tmp_path / "b.pth")
    same(torch.load(tmp_path / "b.pth", weights_only=True)["model"], make())
    assert lines[-1] == f"wrote {tmp_path / 'b.pth'} ({len(make())} tensors)"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("to", ["mae", "timm", "hf"])
def test_types_are_kept(tmp_path: Path, dtype: torch.dtype, to: Target) -> None:
    cast = {name: tensor.to(dtype) for name, tensor in encoder().items()}
    convert(released(tmp_path / "a.pth", cast), to, tmp_path / "b")
    same(read_state(tmp_path / "b").tensors, cast)


@pytest.mark.parametrize("model", [Small(), Small(pooling="class"), Probe()], ids=["mean", "class", "probe"])
def test_a_run_goes_to_mae_and_into_the_model_again(tmp_path: Path, model: nn.Module) -> None:
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 1)
    own = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": {**own, "metrics.seen": torch.ones(1)}, "maekit": {"task": "t"}}, tmp_path / "best.ckpt")
    convert(tmp_path / "best.ckpt", "mae", tmp_path / "b.pth")
    other = Probe() if isinstance(model, Probe) else Small(pooling=model.head.pooling)  # type: ignore[union-attr,arg-type]
    load(other, tmp_path / "b.pth", allow_new=(), allow_unused=())
    same(other.state_dict(), dict(model.state_dict()))


def test_views_are_written_as_what_they_show(tmp_path: Path) -> None:
    """A tensor that shares its memory with others would be refused by safetensors, and be saved whole by torch."""
    block = torch.randn(3, 48)
    shared = {f"blocks.{index}.norm1.weight": block[index] for index in range(3)}
    turned = torch.randn(192, 48).T
    tensors = {**encoder(), **shared, "blocks.0.mlp.fc2.weight": turned}
    for out, to in (("b.safetensors", "timm"), ("b.pth", "mae"), ("hf", "hf")):
        convert(released(tmp_path / "a.pth", tensors), to, tmp_path / out)  # type: ignore[arg-type]
        same(read_state(tmp_path / out).tensors, tensors)


# the same numbers come out


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (encoder, {"num_classes": 0, "global_pool": "token"}),
        (full, {"num_classes": 0, "global_pool": "token"}),
        (mean, {"num_classes": 5, "global_pool": "avg"}),
        (token, {"num_classes": 5, "global_pool": "token"}),
        (probe, {"num_classes": 5, "global_pool": "token"}),
    ],
)
def test_timm_loads_strictly_and_computes_the_same(tmp_path: Path, make: Make, settings: dict[str, Any]) -> None:
    import timm.models.vision_transformer as timm_vit

    lines = convert(released(tmp_path / "a.pth", make()), "timm", tmp_path / "b.safetensors")
    fresh = timm_vit.VisionTransformer(32, 8, embed_dim=48, depth=3, num_heads=2, **settings).eval()
    fresh.load_state_dict(load_file(tmp_path / "b.safetensors"), strict=True)
    source = {mean: peer(), token: peer(pooling="class"), probe: probe_peer()}.get(
        make, peer(pooling="class", classes=0)
    )
    assert_float64(fresh(images(32, 32)), source(images(32, 32)))
    assert f'num_classes={settings["num_classes"]}, global_pool="{settings["global_pool"]}"' in " ".join(lines)
    assert any(line.startswith("folded: the linear probe's BatchNorm") for line in lines) == (make is probe)
    assert any("(timm has no decoder" in line for line in lines) == (make is full)


@pytest.mark.usefixtures("float64")
def test_an_encoder_gives_transformers_tokens(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = Small(pooling="class").eval()
    source = released(tmp_path / "a.pth", encoder())
    load(model, source)
    convert(source, "hf", tmp_path / "hf")
    theirs = reloaded("ViTMAEModel", tmp_path / "hf", capfd)
    theirs.config.mask_ratio = 0.0  # everything is kept, and in its order
    found = theirs(images(32, 32), noise=torch.arange(16.0).expand(2, 16)).last_hidden_state
    assert_float64(found, model.backbone(images(32, 32)).tokens)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [token, probe])
def test_a_classifier_gives_transformers_logits(tmp_path: Path, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    model: nn.Module = (Small(pooling="class") if make is token else Probe()).eval()
    source = released(tmp_path / "a.pth", make())
    load(model, source, allow_new=(), allow_unused=())
    lines = convert(source, "hf", tmp_path / "hf")
    theirs = reloaded("ViTForImageClassification", tmp_path / "hf", capfd)
    assert_float64(theirs(images(32, 32)).logits, model(images(32, 32)))
    assert "assumed: class names LABEL_0 to LABEL_4, since the file does not say them" in lines
    assert any(line.startswith("folded: the linear probe's BatchNorm") for line in lines) == (make is probe)


@newest_names
def test_a_decoder_reaches_transformers_bit_for_bit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = convert(released(tmp_path / "a.pth", full()), "hf", tmp_path / "hf")
    theirs = reloaded("ViTMAEForPreTraining", tmp_path / "hf", capfd)
    found = theirs.state_dict()
    for index in range(2):
        layer, block = f"decoder.decoder_layers.{index}", f"decoder_blocks.{index}"
        parts = [found[f"{layer}.attention.{part}_proj.weight"] for part in "qkv"]
        assert torch.equal(torch.cat(parts), full()[f"{block}.attn.qkv.weight"])
        assert torch.equal(found[f"{layer}.attention.o_proj.bias"], full()[f"{block}.attn.proj.bias"])
        assert torch.equal(found[f"{layer}.mlp.fc2.weight"], full()[f"{block}.mlp.fc2.weight"])
    for name in ("mask_token", "decoder_pos_embed", "decoder_pred.weight"):
        assert torch.equal(found[f"decoder.{name}"], full()[name])
    assert "assumed: 2 attention heads in the decoder, 32 wide each" in lines
    theirs.save_pretrained(tmp_path / "again")  # the names of transformers itself, but the decoder's
    again: Any = load_file(tmp_path / "again" / "model.safetensors")
    hub = {name.replace("decoder_encoder.layer.", "decoder_layers."): tensor for name, tensor in again.items()}
    same(hub, load_file(tmp_path / "hf" / "model.safetensors"))


# what a folder says


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


@pytest.mark.parametrize(
    ("recorded", "given"), [(None, None), (True, None), (False, None), (None, True), (True, False)]
)
def test_norm_pix_loss_is_given_recorded_or_assumed(tmp_path: Path, recorded: bool | None, given: bool | None) -> None:
    from argparse import Namespace

    args = Namespace() if recorded is None else Namespace(norm_pix_loss=recorded)
    lines = convert(released(tmp_path / "a.pth", full(), args=args), "hf", tmp_path / "hf", norm_pix_loss=given)
    assert config_of(tmp_path / "hf")["norm_pix_loss"] is bool(recorded if given is None else given)
    assumed = "assumed: norm_pix_loss false, since the file does not say it" in lines
    assert assumed == (recorded is None and given is None)
    convert(tmp_path / "hf", "hf", tmp_path / "again")  # a config says both
    assert config_of(tmp_path / "again") == config_of(tmp_path / "hf")


@pytest.mark.usefixtures("float64")
def test_a_run_says_its_classes_and_its_transform(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = Small(image_size=(16, 64), pooling="class").eval()
    own = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    card = {
        "class_names": ["ant", "bee", "crane", "crane", "eel"],  # ImageNet has two cranes
        "image_size": [16, 64],
        "input": {"image_size": 16, "crop_fraction": 0.875, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    torch.save({"state_dict": own, "maekit": card}, tmp_path / "best.ckpt")
    convert(tmp_path / "best.ckpt", "hf", tmp_path / "hf")
    theirs = reloaded("ViTForImageClassification", tmp_path / "hf", capfd)
    assert [theirs.config.id2label[index] for index in range(5)] == card["class_names"]
    assert_float64(theirs(images(16, 64)).logits, source(images(16, 64)))
    assert read_state(tmp_path / "hf").meta["class_names"] == card["class_names"]
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path / "hf")
    pixels = torch.randint(0, 256, (3, 16, 64), dtype=torch.uint8)
    wanted = (pixels / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.4, 0.5, 0.6])[
        :, None, None
    ]
    found = processor(pixels, return_tensors="pt")["pixel_values"][0]
    assert_fp32(found, wanted)


def test_without_a_card_the_transform_is_imagenets(tmp_path: Path) -> None:
    convert(released(tmp_path / "a.pth", encoder()), "hf", tmp_path / "hf")
    values = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert (values["size"], values["resample"]) == ({"shortest_edge": 36}, 3)
    assert values["crop_size"] == {"height": 32, "width": 32}
    assert (values["image_mean"], values["image_std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert config_of(tmp_path / "hf")["image_size"] == 32
    assert config_of(tmp_path / "hf")["layer_norm_eps"] == 1e-6


def test_what_has_no_place_is_reported(tmp_path: Path) -> None:
    more = {"pooler.dense.weight": torch.ones(48, 48), "blocks.0.attn.rel": torch.ones(2)}
    lines = convert(released(tmp_path / "a.pth", {**encoder(), **more}), "timm", tmp_path / "b.pth")
    assert lines[1] == "left out: pooler.dense.weight, blocks.0.attn.rel"
    same(read_state(tmp_path / "b.pth").tensors, encoder())


# what cannot be written


def test_mean_pooling_does_not_fit_transformers(tmp_path: Path) -> None:
    text = refused(released(tmp_path / "a.pth", mean()), "hf", tmp_path / "hf")
    assert "classifies the mean of the patches" in text
    assert 'convert it with `--to timm` (global_pool="avg")' in text


def test_an_unknown_number_of_heads_is_refused(tmp_path: Path) -> None:
    deeper = {**encoder(), **{n.replace("blocks.2", "blocks.3"): t for n, t in encoder().items()}}
    source = released(tmp_path / "a.pth", deeper)
    assert "does not say how many attention heads it has" in refused(source, "hf", tmp_path / "hf")
    convert(source, "timm", tmp_path / "b.pth")
    same(read_state(tmp_path / "b.pth").tensors, deeper)


def without(name: str) -> dict[str, Tensor]:
    return {other: tensor for other, tensor in full().items() if other != name}


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (lambda: without("blocks.1.mlp.fc1.bias"), "lacks 1 tensors of a whole vit_test_patch8"),
        (lambda: without("mask_token"), "lacks 1 tensors"),
        (lambda: without("pos_embed"), "lacks 1 tensors"),
        (lambda: without("patch_embed.proj.weight"), "expected the ViT of a masked autoencoder"),
        (lambda: {**full(), "norm.bias": torch.ones(47)}, "norm.bias is [47], expected [48]"),
        (lambda: {**full(), "norm.bias": torch.ones(48, dtype=torch.int8)}, "norm.bias is int8, strided, expected"),
        (lambda: {**encoder(), "blocks.0.ls1.gamma": torch.ones(48)}, "lacks 5 tensors of a whole vit_test_patch8_"),
        (lambda: {"layer1.0.conv1.weight": torch.ones(1)}, "the file seems to hold a ResNet"),
        (
            lambda: {n.replace("qkv", "in_proj"): t for n, t in full().items()},
            "expected the ViT of a masked autoencoder",
        ),
    ],
)
@pytest.mark.parametrize("to", ["mae", "timm", "hf"])
def test_what_is_not_whole_is_refused(tmp_path: Path, to: Target, tensors: Make, expected: str) -> None:
    source = released(tmp_path / "a.pth", tensors())
    text = refused(source, to, tmp_path / "out")
    assert text.startswith(str(source))
    assert expected in text


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("weights")
    assert "is not a checkpoint but a text file" in refused(tmp_path / "a.pth", "mae", tmp_path / "b.pth")
    whole = released(tmp_path / "c.pth", encoder()).read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: len(whole) // 2])
    assert "is cut short or damaged" in refused(tmp_path / "a.pth", "hf", tmp_path / "hf")
    assert "expected detectron2, hf, mae, timm" in refused(tmp_path / "c.pth", "onnx", tmp_path / "d")  # type: ignore[arg-type]


def test_positions_of_an_unknown_grid_are_refused_for_hf(tmp_path: Path) -> None:
    odd = {**encoder(), "pos_embed": torch.zeros(1, 1 + 15, 48)}
    source = released(tmp_path / "a.pth", odd)
    assert "has positions for 15 patches of 8x8 px" in refused(source, "hf", tmp_path / "hf")


@pytest.mark.parametrize("to", ["mae", "timm", "hf"])
def test_what_is_there_is_not_replaced(tmp_path: Path, to: Target) -> None:
    source = released(tmp_path / "a.pth", encoder())
    before = source.read_bytes()
    assert "exists already" in refused(source, to, source)
    assert source.read_bytes() == before
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    assert "exists already" in refused(source, to, tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    if to == "hf":
        convert(source, to, tmp_path / "empty")
        assert len(list((tmp_path / "empty").iterdir())) == 3
    else:
        assert "expected the name of a new file" in refused(source, to, tmp_path / "empty")


def test_half_a_folder_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = released(tmp_path / "a.pth", encoder())

    def full_disk(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    for to in set(get_args(Target)) - {"detectron2"}:
        assert "No space left on device" in refused(source, to, tmp_path / "new" / "out")
        assert not [path for path in tmp_path.rglob("*") if path.name not in ("a.pth", "new")]
        (tmp_path / "new").rmdir()


def test_a_pretraining_of_solo_learn_reaches_transformers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    named = {f"backbone.{name}": tensor for name, tensor in encoder().items()}
    named |= {f"decoder.{name}": tensor for name, tensor in decoder().items()}
    named |= {"classifier.weight": torch.ones(100, 48), "classifier.bias": torch.ones(100)}
    torch.save({"state_dict": named, "pytorch-lightning_version": "1.7.7"}, tmp_path / "a.ckpt")
    lines = convert(tmp_path / "a.ckpt", "hf", tmp_path / "hf")
    assert lines[:2] == [
        f"read {tmp_path / 'a.ckpt'} (solo-learn, pre-training with decoder)",
        "left out: classifier.*",
    ]
    reloaded("ViTMAEForPreTraining", tmp_path / "hf", capfd)
    same(read_state(tmp_path / "hf").tensors, full())
