"""What `maekit weights inspect` says of a file is so: by published numbers, and by what the loaders then do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch
from torch import Tensor, nn

from maekit.backbone.pos_embed import sincos_pos_embed
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.weights.describe.inspect import inspect
from maekit.weights.describe.uses import uses
from maekit.weights.families.facts import Decoder, Head
from maekit.weights.families.purpose import Use
from maekit.weights.load.backbone import load_backbone
from tests.weights.helpers import (
    MM_MEAN,
    Probe,
    Small,
    decoder,
    encoder,
    load,
    peer,
    probe_peer,
    released,
    to_mmpretrain,
    to_solo,
)

Make = Callable[[], dict[str, Tensor]]


def full() -> dict[str, Tensor]:
    return {**encoder(), **decoder()}


def finetuned(pooling: str = "mean") -> dict[str, Tensor]:
    return dict(peer(pooling=pooling).state_dict())


def probe() -> dict[str, Tensor]:
    return dict(probe_peer().state_dict())


def without(make: Make, *names: str) -> Make:
    return lambda: {name: tensor for name, tensor in make().items() if name not in names}


def broken(make: Make, name: str) -> Make:
    return lambda: {**make(), name: torch.full_like(make()[name], float("nan"))}


def reshaped(make: Make, name: str, shape: tuple[int, ...]) -> Make:
    return lambda: {**make(), name: torch.ones(shape)}


@pytest.mark.parametrize(
    ("size", "width", "blocks", "heads", "patch", "grid", "published"),
    [("base_patch16", 768, 12, 12, 16, 14, 85_798_656), ("large_patch16", 1024, 24, 16, 16, 14, 303_301_632)],
)
def test_published_sizes_have_their_numbers_of_parameters(
    tmp_path: Path, size: str, width: int, blocks: int, heads: int, patch: int, grid: int, published: int
) -> None:
    with torch.device("meta"):
        model = timm_vit.VisionTransformer(
            224, patch, embed_dim=width, depth=blocks, num_heads=heads, num_classes=0, global_pool="token"
        )
    one = torch.zeros(1)  # of every tensor one number is stored
    file = released(tmp_path / "a.pth", {name: one.expand(t.shape) for name, t in model.state_dict().items()})
    assert file.stat().st_size < 1_000_000
    facts = inspect(file)
    assert facts.encoder_parameters == published
    assert (facts.size, facts.embed_dim, facts.num_blocks) == (f"vit_{size}", width, blocks)
    assert (facts.patch_size, facts.num_heads) == (patch, heads)
    assert (facts.pos_grid, facts.image_size, facts.coverage) == ((grid, grid), (224, 224), 1.0)


def test_an_encoder(tmp_path: Path) -> None:
    tensors = {**encoder(), "pos_embed": sincos_pos_embed(48, (4, 4), True)}
    facts = inspect(released(tmp_path / "a.pth", tensors))
    assert (facts.layout, facts.kind, facts.seems) == ("mae", "encoder", "")
    assert facts.in_words == "facebookresearch/mae, encoder alone"
    assert facts.encoder_parameters == sum(tensor.numel() for tensor in tensors.values())
    assert facts.dtypes == ("float32",)
    assert (facts.positions, facts.pos_grid, facts.image_size) == ("sincos", (4, 4), (32, 32))
    assert (facts.decoder, facts.classifier, facts.class_names, facts.norm_pix_loss) == (None, None, 0, None)
    assert (facts.epoch, facts.step, facts.task, facts.recipe) == (799, None, None, None)
    assert (facts.coverage, facts.missing, facts.unused, facts.not_finite) == (1.0, (), (), ())


def test_types_positions_and_a_decoder(tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in full().items()}
    facts = inspect(released(tmp_path / "a.pth", {**tensors, "cls_token": torch.ones(1, 1, 48)}))
    assert facts.dtypes == ("float16", "float32")
    assert (facts.positions, facts.kind) == ("learned", "pretraining")
    assert facts.decoder == Decoder(64, 2, None)
    assert facts.unused == ()


@pytest.mark.parametrize(
    ("make", "kind", "head"),
    [
        (finetuned, "classifier_mean", Head(5, "mean")),
        (lambda: finetuned("class"), "classifier_class", Head(5, "class")),
        (probe, "linear_probe", Head(5, "class")),
    ],
)
def test_classifiers(tmp_path: Path, make: Make, kind: str, head: Head) -> None:
    facts = inspect(released(tmp_path / "a.pth", make()))
    assert (facts.kind, facts.classifier, facts.coverage) == (kind, head, 1.0)
    assert (facts.missing, facts.unused) == ((), ())


def test_a_run_says_its_task_classes_and_image(tmp_path: Path) -> None:
    model = Small(image_size=(32, 48))
    card = {"task": "t", "recipe": "r", "class_names": list("abcde"), "image_size": [32, 48], "step": 70}
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "maekit": card, "epoch": 3, "global_step": 7}, tmp_path / "a.ckpt")
    facts = inspect(tmp_path / "a.ckpt")
    assert (facts.layout, facts.task, facts.recipe, facts.class_names) == ("maekit", "t", "r", 5)
    assert (facts.epoch, facts.step, facts.pos_grid, facts.image_size) == (3, 70, (4, 6), (32, 48))
    assert (facts.positions, facts.coverage) == ("sincos", 1.0)


def test_what_a_file_says_is_not_trusted(tmp_path: Path) -> None:
    more: dict[str, Any] = {"epoch": "x", "args": 3, "maekit": [1], "class_names": 7, "config": None}
    facts = inspect(released(tmp_path / "a.pth", encoder(), **more))
    assert (facts.epoch, facts.task, facts.class_names, facts.norm_pix_loss) == (None, None, 0, None)


def test_pixels_of_the_decoder(tmp_path: Path) -> None:
    assert inspect(released(tmp_path / "a.pth", full(), args={"norm_pix_loss": True})).norm_pix_loss is True


def test_coverage_counts_numbers(tmp_path: Path) -> None:
    gone = "blocks.1.mlp.fc1.weight"
    facts = inspect(released(tmp_path / "a.pth", without(encoder, gone)()))
    whole = sum(tensor.numel() for tensor in encoder().values())
    assert facts.coverage == pytest.approx(1 - 4 * 48 * 48 / whole)
    assert facts.missing == (gone,)


def test_an_unknown_size_is_measured_all_the_same(tmp_path: Path) -> None:
    small = timm_vit.VisionTransformer(32, 8, embed_dim=64, depth=2, num_heads=4, num_classes=0, global_pool="token")
    facts = inspect(released(tmp_path / "a.pth", small.state_dict()))
    assert (facts.size, facts.embed_dim, facts.num_blocks, facts.num_heads) == (None, 64, 2, None)
    assert (facts.coverage, facts.missing, facts.unused) == (1.0, (), ())
    assert uses(facts)["fine_tuning"].how.startswith("its size is none of vit_base_patch16, ")


def test_a_foreign_model_is_named(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.ones(2), "fc.weight": torch.ones(2)}, tmp_path / "a.pth")
    facts = inspect(tmp_path / "a.pth")
    assert (facts.layout, facts.seems, facts.coverage, facts.size) == ("unknown", "a ResNet", None, None)
    assert {use.how for use in uses(facts).values()} == {
        "it seems to hold a ResNet, expected the plain ViT of a masked autoencoder"
    }


FILES: dict[str, Make] = {
    "encoder": encoder,
    "with decoder": full,
    "fine-tuned on the mean": finetuned,
    "fine-tuned on the class token": lambda: finetuned("class"),
    "probe": probe,
    "no norm at all": without(encoder, "norm.weight", "norm.bias"),
    "half a norm": without(encoder, "norm.bias"),
    "a block's tensor gone": without(encoder, "blocks.2.norm1.bias"),
    "no positions": without(encoder, "pos_embed"),
    "no class token": without(encoder, "cls_token"),
    "another shape": reshaped(encoder, "blocks.0.mlp.fc1.bias", (7,)),
    "whole numbers": lambda: {**encoder(), "cls_token": torch.ones(1, 1, 48, dtype=torch.int32)},
    "NaN in a block": broken(encoder, "blocks.0.norm1.weight"),
    "NaN in the norm": broken(encoder, "norm.weight"),
    "NaN in the decoder": broken(full, "decoder_norm.weight"),
    "NaN in the classifier": broken(finetuned, "head.weight"),
    "no bias in the classifier": without(finetuned, "head.bias"),
    "no norm in the classifier": without(finetuned, "fc_norm.bias"),
    "two norms": lambda: {**finetuned(), "norm.weight": torch.ones(48), "norm.bias": torch.ones(48)},
    "a probe without statistics": without(probe, "head.0.running_var"),
    "something more": lambda: {**encoder(), "extra.weight": torch.ones(2)},
    "a decoder without mask token": without(full, "mask_token"),
    "solo-learn": to_solo,
    "mmpretrain": lambda: to_mmpretrain(finetuned(), MM_MEAN),
}


def works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except UserError:
        return False
    return True


@pytest.mark.parametrize("name", FILES)
def test_what_is_said_to_be_possible_is_what_loads(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save({"state_dict" if "learn" in name or "mm" in name else "model": FILES[name]()}, file)
    facts = inspect(file)
    said = uses(facts)
    model: nn.Module = Probe()
    whole = {"allow_new": (), "allow_unused": ("decoder*", "mask_token")}
    if facts.kind != "linear_probe":
        model = Small(pooling=facts.classifier.pooling if facts.classifier else "mean")
    on_mean = "--model.pooling mean" in said["linear_probe"].how
    prober, unused = Probe(final_norm=not on_mean), ("decoder*", "mask_token", *(["norm.*"] if on_mean else []))
    loads = {
        "features": works(lambda: load_backbone(file, image_size=32)),
        "fine_tuning": works(lambda: load(Small(), file, leave_out=("head.*",))),
        "linear_probe": works(lambda: load(prober, file, allow_unused=unused, leave_out=("head.*",))),
        "validation": works(lambda: load(model, file, **whole)),
    }
    assert {purpose: said[purpose].possible for purpose in loads} == loads, said
    assert any(loads.values()) or facts.missing or facts.misshapen or facts.unused or facts.not_finite


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (encoder, "it holds no decoder"),
        (without(full, "mask_token"), "it lacks mask_token"),
        (without(full, "decoder_blocks.1.attn.qkv.weight"), "it lacks decoder_blocks.1.attn.qkv.weight"),
        (without(full, "norm.weight"), "it lacks norm.weight"),
        (broken(full, "decoder_pred.bias"), "it has NaN or infinite values in decoder_pred.bias"),
    ],
)
def test_reconstruction_needs_the_whole_decoder(tmp_path: Path, make: Make, why: str) -> None:
    said = uses(inspect(released(tmp_path / "a.pth", make())))
    for purpose in ("reconstruction", "pre_training"):
        assert (said[purpose].possible, said[purpose].how) == (False, why)


def test_a_whole_decoder_serves_for_both(tmp_path: Path) -> None:
    file = released(tmp_path / "a.pth", full())
    said = uses(inspect(file))
    assert said["reconstruction"] == Use(True, f"maekit reconstruct IMAGES --weights {file}")
    assert said["pre_training"] == Use(True, f"--model.weights {file} with --model.backbone vit_test_patch8")


def test_a_vit_with_registers_is_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vit = ViT(load_size("vit_smoke_patch8_reg4"), image_size=(32, 32))
    torch.save({f"backbone.{name}": t for name, t in vit.state_dict().items()}, tmp_path / "a.pth")
    facts = inspect(tmp_path / "a.pth")
    assert (facts.size, facts.coverage, facts.missing, facts.unused) == ("vit_smoke_patch8_reg4", 1.0, (), ())
    assert uses(facts)["features"].possible
    loaded = load_backbone(tmp_path / "a.pth", image_size=32)
    assert torch.equal(loaded(torch.ones(1, 3, 32, 32)).tokens, vit.eval()(torch.ones(1, 3, 32, 32)).tokens)
    with pytest.raises(UserError, match=r"4 registers.*, which mae has no place for"):
        convert(tmp_path / "a.pth", "mae", tmp_path / "out.pth")
