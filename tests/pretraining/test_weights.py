"""A pre-training of maekit's, written for facebookresearch/mae and transformers, computes the same there; and back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.pretraining.model import Pretrainer
from maekit.weights.describe.inspect import inspect
from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64, assert_fp32, assert_fp32_function
from tests.weights.helpers import load, peer, same

pytestmark = pytest.mark.numeric

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def settings_of(**changes: Any) -> dict[str, Any]:
    return {
        "backbone": "vit_test_patch8",
        "weights": "none",
        "decoder_width": 32,
        "decoder_depth": 2,
        "decoder_heads": 4,
        "mask_ratio": 0.6,
        "masking": "random",
        "target": "normalised_pixels",
        **changes,
    }


def pretrainer(size: tuple[int, int] = (32, 32), **changes: Any) -> Pretrainer:
    """A model as a pre-training builds it, with other numbers in every parameter but the fixed positions."""
    torch.manual_seed(0)
    model = Pretrainer.build(DataSpec((), size, mean=MEAN, std=STD, target="none"), settings_of(**changes))
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


def write_run(path: Path, model: Pretrainer, **changes: Any) -> Path:
    card = {
        "task": "mytask",
        "recipe": "mine",
        "config": {"model": settings_of(**changes)},
        "class_names": ["image"],
        "class_ids": [],
        "image_size": list(model.spec.image_size),
        "input": {"image_size": 32, "crop_fraction": 1.0, "mean": list(MEAN), "std": list(STD)},
        "step": 7,
    }
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "maekit": card}, path)
    return path


def drawn(size: tuple[int, int] = (32, 32)) -> tuple[Tensor, Tensor]:
    """Three images and the noise that hides their patches."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(3, 3, *size, generator=generator)
    return images, torch.rand(3, size[0] * size[1] // 64, generator=generator)


def released_names(model: Pretrainer) -> dict[str, Tensor]:
    return {n.removeprefix("backbone.").removeprefix("head."): tensor for n, tensor in model.state_dict().items()}


def from_pretrained(name: str, folder: Path) -> Any:
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    return model.eval(), sorted(info["unexpected_keys"])


@pytest.mark.usefixtures("float64")
@torch.inference_mode()
@pytest.mark.parametrize(("target", "ratio"), [("normalised_pixels", 0.6), ("pixels", 0.75)])
def test_transformers_computes_the_same(tmp_path: Path, target: Any, ratio: float) -> None:
    model = pretrainer(target=target, mask_ratio=ratio)
    run = write_run(tmp_path / "last.ckpt", model, target=target, mask_ratio=ratio)
    lines = convert(run, "hf", tmp_path / "hf")
    assert not [line for line in lines if line.startswith("assumed")]
    theirs, unexpected = from_pretrained("ViTMAEForPreTraining", tmp_path / "hf")
    images, noise = drawn()
    found, (values, masking) = theirs(images, noise=noise), model(images, noise)
    assert_fp32_function(
        lambda pictures: model.patch_losses(pictures, model.draw_masking(pictures, noise))[0].mean(),
        [images],
        found.loss,
    )
    assert_float64(found.logits, values)
    assert torch.equal(found.mask.bool(), masking.masked)
    assert torch.equal(found.ids_restore, masking.restore)
    latent = theirs.vit(images, noise=noise).last_hidden_state
    assert_float64(latent, model.encode(images, masking))
    assert unexpected == []


@pytest.mark.usefixtures("float64")
@torch.inference_mode()
def test_the_same_folder_is_a_vit_and_a_classifier(tmp_path: Path) -> None:
    model = pretrainer()
    convert(write_run(tmp_path / "last.ckpt", model), "hf", tmp_path / "hf")
    images, _ = drawn()
    for name in ("ViTModel", "ViTForImageClassification"):
        theirs = (
            getattr(transformers, name)
            .from_pretrained(tmp_path / "hf", **({"add_pooling_layer": False} if name == "ViTModel" else {}))
            .eval()
        )
        found = (theirs if name == "ViTModel" else theirs.vit)(images).last_hidden_state
        assert_float64(found, model.backbone(images).tokens)


@pytest.mark.usefixtures("float64")
def test_the_folder_says_what_the_run_did(tmp_path: Path) -> None:
    convert(write_run(tmp_path / "last.ckpt", pretrainer()), "hf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    found = {name: config[name] for name in ("mask_ratio", "norm_pix_loss", "image_size", "patch_size")}
    assert found == {"mask_ratio": 0.6, "norm_pix_loss": True, "image_size": 32, "patch_size": 8}
    found = {name.removeprefix("decoder_"): config[name] for name in config if name.startswith("decoder_")}
    assert found == {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2}
    auto: Any = transformers.AutoImageProcessor
    processor = auto.from_pretrained(tmp_path / "hf")
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    expected = (pixels / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    found = processor(pixels, return_tensors="pt")["pixel_values"][0]
    assert_fp32(found, expected)
    assert (processor.crop_size["height"], processor.crop_size["width"], int(processor.resample)) == (32, 32, 3)


def test_the_released_layout_is_bit_for_bit(tmp_path: Path) -> None:
    model = pretrainer()
    convert(write_run(tmp_path / "last.ckpt", model), "mae", tmp_path / "full.pth")
    contents = torch.load(tmp_path / "full.pth", weights_only=True)
    assert contents["args"] == {"decoder_heads": 4, "norm_pix_loss": True, "mask_ratio": 0.6, "image_size": [32, 32]}
    same(contents["model"], released_names(model))


@pytest.mark.parametrize("to", ["mae", "hf"])
def test_there_and_back_again(tmp_path: Path, to: Any) -> None:
    """Through the layout into a new run, and from it to transformers: every number and what is said of them."""
    model, fresh = pretrainer(), pretrainer()
    for weight in fresh.parameters():
        weight.data.zero_()
    convert(write_run(tmp_path / "last.ckpt", model), to, tmp_path / "there")
    report = load(fresh, tmp_path / "there", allow_new=(), allow_unused=())
    assert (report.kind, report.new, report.unused, report.resized) == ("pretraining", (), (), ())
    same(dict(fresh.state_dict()), dict(model.state_dict()))
    described = inspect(tmp_path / "there")
    assert described.decoder is not None
    assert (described.decoder.num_heads, described.norm_pix_loss, described.image_size) == (4, True, (32, 32))
    convert(tmp_path / "there", "hf", tmp_path / "again")
    convert(tmp_path / "last.ckpt", "hf", tmp_path / "direct")
    ours, direct = ((tmp_path / name / "config.json").read_text() for name in ("again", "direct"))
    assert ours == direct


def test_another_size_starts_from_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "last.ckpt", pretrainer())
    wide = pretrainer((48, 32), weights=str(run))
    report = wide.load_start(complete=True)
    assert report is not None
    assert (set(report.resized), report.grids) == ({"pos_embed", "head.decoder_pos_embed"}, ((4, 4), (6, 4)))
    assert torch.equal(wide.head.decoder_pred.weight, pretrainer().head.decoder_pred.weight)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"target": "pca", "num_components": 8}, "it was pre-trained to predict pca, not pixels"),
        ({"encoder_mask_tokens": True}, "its encoder was given mask tokens"),
    ],
)
def test_what_nobody_else_knows_is_written_as_an_encoder_alone(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    import timm.models.vision_transformer as timm_vit

    model = pretrainer(**changes)
    run = write_run(tmp_path / "last.ckpt", model, **changes)
    for to in ("mae", "hf"):
        with pytest.raises(UserError) as caught:
            convert(run, to, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert f"cannot be written as {to}, which knows pixels and mask tokens in the decoder only: {why}; " in str(
            caught.value
        )
        assert str(caught.value).endswith("write its encoder alone with `--to timm`")
        assert not (tmp_path / "out").exists()
    lines = convert(run, "timm", tmp_path / "encoder.pth")
    assert any(line.startswith("left out: ") for line in lines)
    theirs = timm_vit.VisionTransformer(32, 8, embed_dim=48, depth=3, num_heads=2, num_classes=0, global_pool="token")
    theirs.load_state_dict(torch.load(tmp_path / "encoder.pth", weights_only=True), strict=True)
    images, _ = drawn()
    assert_float64(theirs.eval().forward_features(images), model.backbone(images).tokens)
    again = pretrainer(**changes, weights=str(run))
    for weight in again.parameters():
        weight.data.zero_()
    assert again.load_start(complete=True) is not None
    same(dict(again.state_dict()), dict(model.state_dict()))


def test_an_oblong_pretraining_is_not_written_for_transformers(tmp_path: Path) -> None:
    """Its ViTMAE asks for square images, whatever its config says."""
    model = pretrainer((16, 64))
    run = write_run(tmp_path / "last.ckpt", model)
    with pytest.raises(UserError) as caught:
        convert(run, "hf", tmp_path / "hf")
    assert "was pre-trained on images of 16x64 px, expected square ones" in str(caught.value)
    assert "write it with `--to mae`, or its encoder with `--to timm`" in str(caught.value)
    assert "\n" not in str(caught.value)
    convert(run, "mae", tmp_path / "a.pth")
    assert inspect(tmp_path / "a.pth").pos_grid == (2, 8)
    same(read_state(tmp_path / "a.pth").tensors, released_names(model))


def test_a_checkpoint_cut_off_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "last.ckpt", pretrainer())
    run.write_bytes(run.read_bytes()[:100_000])
    with pytest.raises(UserError, match="is cut short or damaged"):
        convert(run, "hf", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.usefixtures("float64")
@torch.inference_mode()
def test_a_classifier_on_the_class_token_reaches_transformers(tmp_path: Path) -> None:
    torch.save(
        {
            f"model.{'backbone.' if not n.startswith('head') else 'head.fc.'}{n.removeprefix('head.')}": t
            for n, t in peer(pooling="class").state_dict().items()
        },
        tmp_path / "tensors",
    )
    named = torch.load(tmp_path / "tensors", weights_only=True)
    torch.save(
        {"state_dict": named, "maekit": {"class_names": list("abcde"), "image_size": [32, 32]}}, tmp_path / "best.ckpt"
    )
    convert(tmp_path / "best.ckpt", "hf", tmp_path / "hf")
    theirs, unexpected = from_pretrained("ViTForImageClassification", tmp_path / "hf")
    images, _ = drawn()
    assert_float64(theirs(images).logits, peer(pooling="class")(images))
    assert unexpected == []
