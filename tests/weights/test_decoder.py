"""A decoder's weights go into a model whose head is one, from every layout, and disturb no other model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from maekit.backbone.block import Block
from maekit.backbone.pos_embed import resize_pos_embed, sincos_pos_embed
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.pretraining.decoder import MAEDecoder
from maekit.pretraining.target import make_target
from maekit.weights.describe.inspect import inspect
from maekit.weights.read.metadata import mask_ratio, normalisation
from maekit.weights.state.state_file import read_state
from tests.weights.helpers import Small, decoder, encoder, load, refusal, released, same

Write = Callable[[Path], Path]
EXPECT: dict[str, Any] = {
    "allow_new": ("head.*",),
    "allow_unused": (),
    "allow_resized": ("pos_embed", "decoder_pos_embed"),
}


class PreTrainer(nn.Module):
    """An encoder of 48 x 3 and a decoder of 64 x 2, as a pre-training has them."""

    def __init__(self, grid: tuple[int, int] = (4, 4), heads: int = 4, components: int = 0, blocks: int = 2) -> None:
        super().__init__()
        self.backbone = ViT(load_size("vit_test_patch8"), image_size=(grid[0] * 8, grid[1] * 8))
        target = make_target("pca" if components else "pixels", 192, components or None)
        layers = [Block(64, heads, drop_path=0.0, window=0) for _ in range(blocks)]
        self.head = MAEDecoder(48, layers, sincos_pos_embed(64, grid, True), target)


def full() -> dict[str, Tensor]:
    return {**encoder(), **decoder()}


def as_model() -> dict[str, Tensor]:
    """The same under the names of a model of ours."""
    named = {f"backbone.{name}": tensor for name, tensor in encoder().items()}
    return named | {f"head.{name}": tensor for name, tensor in decoder().items()}


def held(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors under released names, found without any of the code under test."""
    return {name.removeprefix("backbone.").removeprefix("head."): t for name, t in model.state_dict().items()}


def write_run(path: Path, model: nn.Module | None = None, **settings: object) -> Path:
    """A run's checkpoint, of a model or with the tensors of `full`."""
    tensors = as_model() if model is None else dict(model.state_dict())
    config = {"model": {"decoder_heads": 4, "target": "normalised_pixels", "mask_ratio": 0.6, **settings}}
    card = {"task": "mytask", "recipe": "mine", "config": config, "image_size": [32, 32], "class_names": [], "step": 7}
    torch.save({"state_dict": {f"model.{name}": t for name, t in tensors.items()}, "maekit": card}, path)
    return path


def _mae(folder: Path) -> Path:
    return released(folder / "a.pth", full())


def _hf(folder: Path) -> Path:
    from maekit.export.convert import convert

    convert(_mae(folder), "hf", folder / "hf")
    return folder / "hf"


def _solo(folder: Path) -> Path:
    named = {f"backbone.{name}": t for name, t in encoder().items()}
    named |= {f"decoder.{name}": t for name, t in decoder().items()}
    named |= {"classifier.weight": torch.ones(100, 48), "classifier.bias": torch.ones(100)}
    torch.save({"state_dict": named, "pytorch-lightning_version": "1.7.7"}, folder / "a.ckpt")
    return folder / "a.ckpt"


def _run(folder: Path) -> Path:
    return write_run(folder / "last.ckpt")


def _bare(folder: Path) -> Path:
    torch.save(as_model(), folder / "bare.pt")
    return folder / "bare.pt"


def _half(folder: Path) -> Path:
    save_file({name: t.half() for name, t in full().items()}, folder / "a.safetensors")
    return folder / "a.safetensors"


@pytest.mark.parametrize("write", [_mae, _hf, _solo, _run, _bare, _half])
def test_a_full_file_fills_encoder_and_decoder(tmp_path: Path, write: Write) -> None:
    model = PreTrainer(heads=2 if write is _hf else 4)  # an assumed number, 32 channels each, stands in that config
    report = load(model, write(tmp_path), **EXPECT)
    assert (report.kind, report.new, report.resized, report.coverage) == ("pretraining", (), (), 1)
    expected = {n: t.half().float() if write is _half else t for n, t in full().items()}
    same(held(model), {name: expected[name] for name in held(model)})
    assert held(model).keys() == expected.keys()


@pytest.mark.parametrize("write", [_mae, _hf, _solo, _run, _bare, _half])
def test_another_task_leaves_a_decoder_unused(tmp_path: Path, write: Write) -> None:
    report = load(Small(pooling="class"), write(tmp_path))
    assert {name for name in report.unused if not name.startswith("classifier.")} == decoder().keys()
    assert report.new == ("head.fc.weight", "head.fc.bias")


def test_an_encoder_alone_leaves_the_decoder_new(tmp_path: Path) -> None:
    model = PreTrainer()
    before = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    report = load(model, released(tmp_path / "a.pth", encoder()), **EXPECT)
    same(dict(model.head.state_dict()), before)
    assert set(report.new) == {f"head.{name}" for name in before}
    assert "is not in it" not in refusal(model, released(tmp_path / "b.pth", encoder()), allow_new=())


def test_a_decoder_that_is_not_wanted_stays_out(tmp_path: Path) -> None:
    model = PreTrainer()
    report = load(model, _mae(tmp_path), **EXPECT, leave_out=("head.*",))
    assert set(report.new) == {f"head.{name}" for name in decoder()}
    assert set(report.unused) == decoder().keys()


def test_both_position_tables_are_resized_where_that_is_allowed(tmp_path: Path) -> None:
    source, model = _mae(tmp_path), PreTrainer((8, 8))
    text = refusal(model, source, allow_resized=("pos_embed",), allow_unused=())
    assert "head.decoder_pos_embed is of a 4x4 patch grid, expected 8x8" in text
    for allowed in ("decoder_pos_embed", "head.decoder_pos_embed"):
        model = PreTrainer((8, 8))
        report = load(model, source, **{**EXPECT, "allow_resized": ("pos_embed", allowed)})
        assert (report.resized, report.grids) == (("pos_embed", "head.decoder_pos_embed"), ((4, 4), (8, 8)))
        for name in ("pos_embed", "decoder_pos_embed"):
            expected = resize_pos_embed(full()[name], (4, 4), (8, 8), 1)
            assert torch.equal(held(model)[name], expected)


def test_a_decoder_of_another_shape_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "last.ckpt")
    said = "got 4 attention heads in the decoder, expected 2"
    assert said in refusal(PreTrainer(heads=2), run, **EXPECT)
    assert said not in refusal(PreTrainer(heads=2, blocks=3), released(tmp_path / "a.pth", full()), **EXPECT)
    text = refusal(PreTrainer(blocks=3), run, **EXPECT)
    assert "its head fits only in part, head.decoder_blocks.2." in text
    assert "of its tensors have no place in the model: decoder_blocks.1." in refusal(
        PreTrainer(blocks=1), run, **EXPECT
    )
    text = refusal(PreTrainer(components=10), run, **EXPECT)
    assert "decoder_pred.weight: got float32 [192, 64], expected float32 [10, 64]" in text


# what a run says


@pytest.mark.parametrize(("target", "normalised"), [("normalised_pixels", True), ("pixels", False), ("pca", None)])
def test_a_run_says_what_it_predicts(tmp_path: Path, target: str, normalised: bool | None) -> None:
    path = write_run(tmp_path / "last.ckpt", target=target)
    state, facts = read_state(path), inspect(path)
    assert (state.layout, state.kind, state.num_heads, state.decoder_heads) == ("maekit", "pretraining", 2, 4)
    same(state.tensors, full())
    assert facts.decoder is not None
    assert (facts.decoder.embed_dim, facts.decoder.num_blocks, facts.decoder.num_heads) == (64, 2, 4)
    assert (facts.norm_pix_loss, facts.task, facts.recipe, facts.step) == (normalised, "mytask", "mine", 7)
    assert (facts.missing, facts.unused, facts.class_names, facts.classifier) == ((), (), 0, None)
    assert mask_ratio(state.meta) == 0.6


def test_a_measured_target_confuses_nobody(tmp_path: Path) -> None:
    source = PreTrainer(components=10)
    source.encoder_mask_token = nn.Parameter(torch.randn(1, 1, 48))
    path = write_run(tmp_path / "last.ckpt", source, target="pca", num_components=10)
    facts = inspect(path)
    assert (facts.kind, facts.missing, facts.unused) == ("pretraining", (), ())
    assert "decoder_target.basis" in read_state(path).tensors
    report = load(Small(pooling="class"), path)  # neither is anything to another task
    assert {"decoder_target.mean", "decoder_target.basis", "encoder_mask_token"} <= set(report.unused)
    again = PreTrainer(components=10)
    again.head.target.load_state_dict({"mean": torch.zeros(192), "basis": torch.ones(10, 192)})
    again.encoder_mask_token = nn.Parameter(torch.zeros(1, 1, 48))
    assert load(again, path, **{**EXPECT, "allow_new": ()}).new == ()
    same(dict(again.state_dict()), dict(source.state_dict()))
    assert load(PreTrainer(components=10), path, **EXPECT).unused == ("encoder_mask_token",)


def test_a_shipped_file_says_its_decoder_in_its_metadata(tmp_path: Path) -> None:
    card = {
        "task": "mytask",
        "recipe": "smoke",
        "decoder_heads": 4,
        "image_size": [16, 64],
        "norm_pix_loss": True,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    }
    wide = PreTrainer((2, 8))
    tensors = {name: tensor.half() for name, tensor in held(wide).items()}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt", "maekit": json.dumps(card)})
    state, facts = read_state(tmp_path / "a.safetensors"), inspect(tmp_path / "a.safetensors")
    assert (state.kind, state.decoder_heads, facts.norm_pix_loss) == ("pretraining", 4, True)
    assert (facts.pos_grid, facts.image_size, facts.positions) == ((2, 8), (16, 64), "sincos")
    assert normalisation(state.meta) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert load(PreTrainer((2, 8)), tmp_path / "a.safetensors", **EXPECT).resized == ()
    assert "format" not in state.meta


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"decoder_heads": "4", "image_size": ["a", {}]}', '{"config": {"model": 3}}']
)
def test_metadata_of_another_kind_is_not_taken(tmp_path: Path, text: str) -> None:
    save_file(full(), tmp_path / "a.safetensors", metadata={"maekit": text, "image_size": "[8, 8]"})
    state = read_state(tmp_path / "a.safetensors")
    assert (state.kind, state.decoder_heads, inspect(tmp_path / "a.safetensors").norm_pix_loss) == (
        "pretraining",
        None,
        None,
    )
    assert inspect(tmp_path / "a.safetensors").pos_grid == (4, 4)
