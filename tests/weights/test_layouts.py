"""Weights in other people's layouts give the same tensors under MAE's names, and other models are named."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.weights.state.state_file import positions, read_state
from tests.numeric import assert_float64
from tests.weights.helpers import (
    MM_BACKBONE,
    MM_MEAN,
    MM_NECK,
    MM_PROBE,
    Probe,
    Small,
    decoder,
    encoder,
    images,
    load,
    one_line,
    peer,
    probe_peer,
    refusal,
    released,
    same,
    to_mmpretrain,
    to_solo,
)

pytestmark = pytest.mark.numeric


# facebookresearch/mae


@pytest.mark.usefixtures("float64")
def test_a_linear_probe_gives_its_logits(tmp_path: Path) -> None:
    source, model = probe_peer(), Probe().eval()
    report = load(model, released(tmp_path / "probe.pth", source.state_dict()), allow_new=(), allow_unused=())
    assert_float64(model(images(32, 32)), source(images(32, 32)))
    assert (report.layout, report.kind, report.new, report.unused) == ("mae", "linear_probe", (), ())
    assert model.head["fc_norm"].num_batches_tracked == 77


def test_a_run_of_a_probe_has_the_released_names(tmp_path: Path) -> None:
    source = Probe()
    torch.save(
        {"state_dict": {f"model.{name}": t for name, t in source.state_dict().items()}, "maekit": {}},
        tmp_path / "a.ckpt",
    )
    state = read_state(tmp_path / "a.ckpt")
    assert (state.layout, state.kind) == ("maekit", "linear_probe")
    assert state.tensors.keys() == probe_peer().state_dict().keys()
    assert load(Probe(), tmp_path / "a.ckpt", allow_new=(), allow_unused=()).new == ()


def test_a_probe_and_a_finetuned_model_do_not_share_heads(tmp_path: Path) -> None:
    probe = released(tmp_path / "probe.pth", probe_peer().state_dict())
    for pooling, said in (("class", "fine-tuned on the class token"), ("mean", "fine-tuned with mean pooling")):
        text = refusal(Small(pooling=pooling), probe)  # type: ignore[arg-type]
        assert f"got the head of a model that is a linear probe, expected one that is {said}" in text
        assert "start a fresh head with --model.new_head true" in text
        tuned = released(tmp_path / f"{pooling}.pth", dict(peer(pooling=pooling).state_dict()))
        text = refusal(Probe(), tuned, allow_unused=("*norm.*",))
        assert f"got the head of a model that is {said}, expected one that is a linear probe" in text
    assert "head.fc.weight" in load(Small(pooling="class"), probe, leave_out=("head.*",)).new


# mmpretrain


@pytest.mark.parametrize(
    ("make", "renamed", "kind"),
    [
        (lambda: {**encoder(), **decoder()}, {**MM_BACKBONE, **MM_NECK}, "pretraining"),
        (encoder, MM_BACKBONE, "encoder"),
        (lambda: dict(peer(pooling="mean").state_dict()), MM_MEAN, "classifier_mean"),
        (
            lambda: dict(peer(pooling="class").state_dict()),
            {**MM_BACKBONE, "head": "head.layers.head"},
            "classifier_class",
        ),
        (lambda: dict(probe_peer().state_dict()), MM_PROBE, "linear_probe"),
    ],
)
def test_mmpretrain_gives_the_same_tensors(
    tmp_path: Path, make: Callable[[], dict[str, Tensor]], renamed: dict[str, str], kind: str
) -> None:
    tensors = make()
    theirs = to_mmpretrain(tensors, renamed)
    assert not any("norm" in name or "blocks.0.mlp" in name for name in theirs)
    meta = {"epoch": 100, "dataset_meta": {"classes": ["a", "b", "c", "d", "e"]}}
    torch.save({"meta": meta, "state_dict": theirs}, tmp_path / "a.pth")
    state = read_state(tmp_path / "a.pth")
    same(state.tensors, tensors)
    assert (state.layout, state.kind) == ("mmpretrain", kind)
    assert state.meta["class_names"] == ["a", "b", "c", "d", "e"]


def test_what_mmengine_keeps_beside_the_weights_is_left_alone(tmp_path: Path) -> None:
    """Runner.save_checkpoint writes training curves: HistoryBuffers with arrays, and functions asked for by getattr."""
    module = ModuleType("mmengine.logging.history_buffer")
    buffer = type("HistoryBuffer", (), {"__module__": module.__name__})
    module.HistoryBuffer = buffer  # type: ignore[attr-defined]
    curve = buffer()
    curve.__dict__.update(values=np.arange(5.0), pop=[1].pop, max_length=3)
    contents = {"state_dict": to_mmpretrain(encoder(), MM_BACKBONE), "message_hub": {"loss": curve}}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("mmengine", "mmengine.logging"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, module.__name__, module)
        torch.save(contents, tmp_path / "epoch_300.pth")
    same(read_state(tmp_path / "epoch_300.pth").tensors, encoder())


@pytest.mark.usefixtures("float64")
def test_mmpretrain_gives_timms_logits(tmp_path: Path) -> None:
    source, model = peer(pooling="mean"), Small().eval()
    torch.save({"state_dict": to_mmpretrain(source.state_dict(), MM_MEAN)}, tmp_path / "a.pth")
    report = load(model, tmp_path / "a.pth", allow_new=(), allow_unused=())
    assert_float64(model(images(32, 32)), source(images(32, 32)))
    assert report.lines()[0].endswith("(mmpretrain, classifier, mean pooling): 100.0% of the backbone's parameters")


def test_two_norms_around_the_pooling_are_refused(tmp_path: Path) -> None:
    """out_type avg_featmap with final_norm True, which no model here computes."""
    tensors = {**peer(pooling="mean").state_dict(), "norm.weight": torch.ones(48), "norm.bias": torch.ones(48)}
    torch.save({"state_dict": to_mmpretrain(tensors, MM_MEAN)}, tmp_path / "a.pth")
    assert "it normalises tokens before pooling and after" in refusal(Small(), tmp_path / "a.pth")


# solo-learn and other Lightning checkpoints


def test_solo_learn_gives_the_same_tensors(tmp_path: Path) -> None:
    contents = {"state_dict": to_solo(), "pytorch-lightning_version": "1.7.7", "epoch": 399, "loops": {}}
    torch.save(contents, tmp_path / "a.ckpt")
    state = read_state(tmp_path / "a.ckpt")
    online = {name: state.tensors.pop(name) for name in ("classifier.weight", "classifier.bias")}
    same(state.tensors, {**encoder(), **decoder()})
    assert online["classifier.weight"].shape == (100, 48)
    assert (state.layout, state.kind) == ("solo-learn", "pretraining")
    report = load(Small(), tmp_path / "a.ckpt")
    assert report.new == ("head.fc_norm.weight", "head.fc_norm.bias", "head.fc.weight", "head.fc.bias")
    assert {"classifier.weight", "classifier.bias"} <= set(report.unused)


@pytest.mark.parametrize(
    ("prefix", "head"),
    [
        ("module.", "module.head."),
        ("model.", "model.head."),
        ("backbone.", "classifier."),  # solo-learn's LinearModel (solo/methods/linear.py)
        ("encoder.", "head."),
        ("model.backbone.", "model.head."),
        ("model.vit.", "classifier."),
        ("_orig_mod.model.network.", "_orig_mod.model.classifier."),
        ("net.module._orig_mod.", "net.head."),
        ("model._orig_mod.", "model._orig_mod.head."),
        ("", "classifier."),
    ],
)
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_wrappers_are_taken_off(tmp_path: Path, prefix: str, head: str, pooling: str) -> None:
    tensors = dict(peer(pooling=pooling).state_dict())
    named = {
        name.replace("head.", head) if name.startswith("head.") else prefix + name: tensor
        for name, tensor in tensors.items()
    }
    contents = {"state_dict": {**named, "loss.weight": torch.ones(1)}, "pytorch-lightning_version": "2.6.0"}
    torch.save(contents, tmp_path / "a.ckpt")
    state = read_state(tmp_path / "a.ckpt")
    assert torch.equal(state.tensors.pop("loss.weight"), torch.ones(1))
    same(state.tensors, tensors)
    assert (state.layout, state.kind) == ("lightning", f"classifier_{pooling}")


@pytest.mark.parametrize(
    ("wrap", "layout"),
    [
        (lambda named: {"model": named}, "state_dict"),
        (lambda named: {"state_dict": named}, "state_dict"),
        (lambda named: named, "state_dict"),
    ],
)
def test_a_bare_maekit_model_under_a_prefix_is_read(tmp_path: Path, wrap: Any, layout: str) -> None:
    for model in (Small(), Probe()):
        torch.save(wrap(model.state_dict()), tmp_path / "a.pth")
        state = read_state(tmp_path / "a.pth")
        assert state.layout == layout
        other = type(model)()
        assert load(other, tmp_path / "a.pth", allow_new=(), allow_unused=()).new == ()
        same(other.state_dict(), model.state_dict())


def test_what_stands_elsewhere_keeps_its_name(tmp_path: Path) -> None:
    named = {f"model.encoder.{name}": tensor for name, tensor in encoder().items()}
    named |= {f"model.{name}": tensor for name, tensor in decoder().items()}
    more = {"model.proj.weight": torch.ones(2), "model.encoder.blocks.0.attn.rel": torch.ones(2)}
    torch.save({"state_dict": {**named, **more}}, tmp_path / "a.ckpt")
    found = read_state(tmp_path / "a.ckpt").tensors
    left = {"model.proj.weight": torch.ones(2), "blocks.0.attn.rel": torch.ones(2)}
    same(found, {**encoder(), **decoder(), **left})
    assert "1 of its tensors have no place in the model: model.proj.weight" in refusal(
        Small(), tmp_path / "a.ckpt", allow_unused=("norm.*", "decoder*", "mask_token", "*.rel")
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("module.encoder_q.", "module.encoder_k."),  # MoCo
        ("student.backbone.", "teacher.backbone."),
        ("backbone.", "momentum_backbone."),  # solo-learn's momentum methods
        ("", "ema."),
    ],
)
def test_two_encoders_are_both_named(tmp_path: Path, first: str, second: str) -> None:
    both = {prefix + name: tensor for prefix in (first, second) for name, tensor in encoder().items()}
    torch.save({"state_dict": both}, tmp_path / "a.pth")
    text = one_line(tmp_path / "a.pth")
    assert "holds 2 encoders" in text
    assert f"'{second}'" in text
    assert f"'{first or 'patch_embed.proj.weight'}'" in text


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    named = {f"model.{name}": tensor for name, tensor in peer(pooling="class").state_dict().items()}
    torch.save({**named, "model.classifier.weight": torch.ones(5, 48)}, tmp_path / "a.pth")
    text = one_line(tmp_path / "a.pth")
    assert "has two tensors for 'head.weight', 'model.head.weight' and 'model.classifier.weight'" in text


# what it is not


FOREIGN = [
    (lambda: {"backbone.simfp_2.0.weight": torch.ones(2)}, "a ViTDet of detectron2"),
    (lambda: {"dist_token": torch.ones(1, 1, 48)}, "a DeiT (it has a distillation token)"),
]


@pytest.mark.parametrize(("extra", "what"), FOREIGN)
def test_a_vit_with_more_in_it_is_named(tmp_path: Path, extra: Callable[[], dict[str, Tensor]], what: str) -> None:
    for wrapper in ("", "module."):
        named = {wrapper + name: tensor for name, tensor in {**encoder(), **extra()}.items()}
        path = released(tmp_path / "a.pth", named)
        assert read_state(path).kind == "unknown"
        assert refusal(Small(), path).endswith(f"the file seems to hold {what}")


@pytest.mark.parametrize(
    ("name", "settings", "what"),
    [
        ("resnet18", {}, "a ResNet"),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 24}, "a Swin transformer"),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}, "a ConvNeXt"),
    ],
)
def test_other_models_of_timm_are_named(tmp_path: Path, name: str, settings: dict[str, Any], what: str) -> None:
    import timm

    torch.save(timm.create_model(name, **settings).state_dict(), tmp_path / "a.pth")
    assert refusal(Small(), tmp_path / "a.pth").endswith(f"; the file seems to hold {what}")


# positions


def test_positions_tell_the_fixed_table_from_a_learned_one(tmp_path: Path) -> None:
    fixed = Small().backbone.get_parameter("pos_embed").detach().clone()
    cases = [(fixed, "sincos"), (fixed.bfloat16(), "sincos"), (encoder()["pos_embed"], "learned")]
    cases += [(fixed + 2e-3, "learned"), (torch.cat([fixed[:, :1] + 0.1, fixed[:, 1:]], dim=1), "learned")]
    for table, expected in cases:
        assert positions(read_state(released(tmp_path / "a.pth", {**encoder(), "pos_embed": table}))) == expected
    without = {name: tensor for name, tensor in encoder().items() if name != "pos_embed"}
    assert positions(read_state(released(tmp_path / "a.pth", without))) == "none"
    odd = {**encoder(), "pos_embed": torch.zeros(1, 16, 48)}
    assert positions(read_state(released(tmp_path / "a.pth", odd))) == "learned"


def test_positions_of_an_oblong_run(tmp_path: Path) -> None:
    own = {f"model.{name}": tensor for name, tensor in Small(image_size=(16, 64)).state_dict().items()}
    torch.save({"state_dict": own, "maekit": {"image_size": [16, 64]}}, tmp_path / "a.ckpt")
    assert positions(read_state(tmp_path / "a.ckpt")) == "sincos"
    torch.save({"state_dict": own, "maekit": {"image_size": [64, 16]}}, tmp_path / "a.ckpt")
    assert positions(read_state(tmp_path / "a.ckpt")) == "learned"
