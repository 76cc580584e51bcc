"""Weights in other people's layouts give the same tensors under MAE's names, and what is no MAE is told in one line."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.weights.state.state_file import positions, read_state
from tests.numeric import assert_float64
from tests.weights.helpers import (
    Probe,
    Small,
    decoder,
    encoder,
    images,
    load,
    newest_names,
    peer,
    probe_peer,
    refusal,
    released,
    same,
)

pytestmark = pytest.mark.numeric

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "image_size": 32,
    "patch_size": 8,
}
TINY_DECODER = {
    "decoder_hidden_size": 64,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 256,
}


def theirs(name: str, **changes: Any) -> Any:
    """A model of transformers with random numbers in every parameter."""
    torch.manual_seed(4)
    mae = name.startswith("ViTMAE")
    config: Any = transformers.ViTMAEConfig if mae else transformers.ViTConfig
    settings = {**TINY, **(TINY_DECODER if mae else {"num_labels": 5}), **changes}
    settings.setdefault("layer_norm_eps", 1e-6)  # MAE's; transformers' own default, 1e-12, moves tokens by 1e-6
    model = getattr(transformers, name)(config(**settings))
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    return model.eval()


def one_line(path: Path) -> str:
    """The one line of a reading that is refused."""
    with pytest.raises(UserError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


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


# transformers


@pytest.mark.parametrize("name", ["ViTMAEModel", "ViTMAEForPreTraining", "ViTModel", "ViTForImageClassification"])
def test_a_folder_of_transformers_gives_its_tokens(tmp_path: Path, name: str) -> None:
    source = theirs(name)
    source.save_pretrained(tmp_path)
    model = Small(pooling="class").eval()
    report = load(model, tmp_path)
    encoder_of = (source if name.endswith("Model") else source.vit).double()
    if name.startswith("ViTMAE"):  # everything is kept, and in its order
        encoder_of.config.mask_ratio = 0.0
        expected = encoder_of(images(32, 32).double(), noise=torch.arange(16.0).expand(2, 16)).last_hidden_state
    else:
        expected = encoder_of(images(32, 32).double()).last_hidden_state
    assert_float64(model.double().backbone(images(32, 32).double()), expected)
    kinds: dict[str, str] = {"ViTMAEForPreTraining": "pretraining", "ViTForImageClassification": "classifier_class"}
    assert (report.layout, report.kind) == ("transformers", kinds.get(name, "encoder"))
    assert report.coverage == 1.0
    assert any(name.startswith("pooler") for name in report.unused) == (name == "ViTModel")


def test_a_classifier_of_transformers_gives_its_logits(tmp_path: Path) -> None:
    labels = dict(enumerate(["ant", "bee", "cat", "dog", "eel"]))
    source = theirs("ViTForImageClassification", id2label=labels)
    source.save_pretrained(tmp_path)
    model = Small(pooling="class").eval()
    report = load(model, tmp_path, allow_new=(), allow_unused=())
    assert_float64(model.double()(images(32, 32).double()), source.double()(images(32, 32).double()).logits)
    assert (report.new, report.unused) == ((), ())
    state = read_state(tmp_path)
    assert state.meta["class_names"] == ["ant", "bee", "cat", "dog", "eel"]
    assert (state.num_heads, state.decoder_heads) == (2, None)


def expected_of(source: Any) -> dict[str, Tensor]:
    """The tensors of a ViTMAEForPreTraining under MAE's names, by its modules."""
    vit, own = source.vit, source.decoder
    found = {
        "cls_token": vit.embeddings.cls_token,
        "pos_embed": vit.embeddings.position_embeddings,
        "mask_token": own.mask_token,
        "decoder_pos_embed": own.decoder_pos_embed,
    }
    modules = {
        "patch_embed.proj": vit.embeddings.patch_embeddings.projection,
        "norm": vit.layernorm,
        **{f"decoder_{name}": getattr(own, f"decoder_{name}") for name in ("embed", "norm", "pred")},
    }
    for stem, layers in (("blocks", vit.layers), ("decoder_blocks", own.decoder_layers)):
        for index, layer in enumerate(layers):
            for leaf in ("weight", "bias"):
                parts = [getattr(getattr(layer.attention, f"{part}_proj"), leaf) for part in "qkv"]
                found[f"{stem}.{index}.attn.qkv.{leaf}"] = torch.cat(parts)
            modules |= {
                f"{stem}.{index}.attn.proj": layer.attention.o_proj,
                f"{stem}.{index}.norm1": layer.layernorm_before,
                f"{stem}.{index}.norm2": layer.layernorm_after,
                f"{stem}.{index}.mlp.fc1": layer.mlp.fc1,
                f"{stem}.{index}.mlp.fc2": layer.mlp.fc2,
            }
    found |= {
        f"{name}.{leaf}": tensor for name, module in modules.items() for leaf, tensor in module.state_dict().items()
    }
    return {name: tensor.detach() for name, tensor in found.items()}


def save_hub_names(source: Any, folder: Path) -> Path:
    """As the Hub's facebook/vit-mae-base has them: decoder_layers, with the saved names of a layer."""
    source.save_pretrained(folder)
    saved = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    hub = {name.replace("decoder_encoder.layer.", "decoder_layers."): tensor for name, tensor in saved.items()}
    assert hub.keys() != saved.keys()
    torch.save(hub, folder / "pytorch_model.bin")
    return folder


def save_shards(source: Any, folder: Path) -> Path:
    source.save_pretrained(folder, max_shard_size="300KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return folder


def save_bin_shards(source: Any, folder: Path) -> Path:
    """As transformers 4 sharded: pickles."""
    saved = source.state_dict()
    source.config.save_pretrained(folder)
    names = list(saved)
    parts = {"pytorch_model-00001-of-00002.bin": names[:40], "pytorch_model-00002-of-00002.bin": names[40:]}
    for file, some in parts.items():
        torch.save({name: saved[name] for name in some}, folder / file)
    places = {name: file for file, some in parts.items() for name in some}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def save_in_memory(source: Any, folder: Path) -> Path:
    torch.save(source.state_dict(), folder / "mine.pth")
    return folder / "mine.pth"


def save_wrapped(source: Any, folder: Path) -> Path:
    """In somebody's LightningModule."""
    named = {f"model.net.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": named, "pytorch-lightning_version": "2.6.0"}, folder / "last.ckpt")
    return folder / "last.ckpt"


@newest_names
@pytest.mark.parametrize("save", [save_hub_names, save_shards, save_bin_shards, save_in_memory, save_wrapped])
def test_every_naming_of_transformers_gives_the_same_tensors(tmp_path: Path, save: Callable[[Any, Path], Path]) -> None:
    source = theirs("ViTMAEForPreTraining")
    state = read_state(save(source, tmp_path))
    same(state.tensors, expected_of(source))
    assert (state.layout, state.kind, state.num_heads) == ("transformers", "pretraining", 2)
    assert state.decoder_heads == (None if save in (save_in_memory, save_wrapped) else 4)


def test_a_config_says_an_oblong_image(tmp_path: Path) -> None:
    theirs("ViTForImageClassification", image_size=(16, 64)).save_pretrained(tmp_path)
    model = Small(image_size=(16, 64), pooling="class")
    assert load(model, tmp_path).resized == ()
    assert load(Small(image_size=(64, 16), pooling="class"), tmp_path).grids == ((2, 8), (8, 2))


def test_another_number_of_heads_is_refused(tmp_path: Path) -> None:
    theirs("ViTMAEModel", num_attention_heads=3).save_pretrained(tmp_path)
    assert "got 3 attention heads, expected 2" in refusal(Small(pooling="class"), tmp_path)


@newest_names
def test_an_incomplete_qkv_is_refused(tmp_path: Path) -> None:
    saved = theirs("ViTMAEModel").state_dict()
    del saved["layers.1.attention.k_proj.weight"]
    torch.save(saved, tmp_path / "a.pth")
    text = refusal(Small(pooling="class"), tmp_path / "a.pth")
    assert "1 of the model's tensors are not in it: blocks.1.attn.qkv.weight" in text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "clip"}, "got model_type 'clip', expected vit_mae or vit"),
        ({"model_type": "dinov2"}, "got model_type 'dinov2', expected vit_mae or vit"),
        ({}, "got model_type None, expected vit_mae or vit"),
        ([1], "got model_type None, expected vit_mae or vit"),
        ({"architecture": "vit_base_patch16_224"}, "is a folder of timm"),
        ({"model_type": "vit", "hidden_act": "gelu_new"}, "got hidden_act 'gelu_new', expected gelu"),
        ({"model_type": "vit", "num_attention_heads": "12"}, "got num_attention_heads '12', expected a whole number"),
        ({"model_type": "vit", "image_size": [224]}, "got image_size [224], expected pixels or [height, width]"),
        ({"model_type": "vit"}, "has config.json but no weights, expected model.safetensors or pytorch_model.bin"),
    ],
)
def test_a_folders_problems_are_one_line(tmp_path: Path, config: object, expected: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert expected in one_line(tmp_path)


def test_a_config_cut_in_half_is_one_line(tmp_path: Path) -> None:
    theirs("ViTModel").save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text[: len(text) // 2])
    assert "config.json is no JSON" in one_line(tmp_path)


def test_a_folder_without_config_names_a_file_in_it(tmp_path: Path) -> None:
    assert "there is no checkpoint in it" in one_line(tmp_path)
    save_file(encoder(), tmp_path / "model.safetensors")
    text = one_line(tmp_path)
    assert "is a folder without config.json" in text
    assert "such as 'model.safetensors'" in text


def test_shards_must_be_whole(tmp_path: Path) -> None:
    save_shards(theirs("ViTMAEModel"), tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    shard = next(iter(told["weight_map"].values()))
    for places, expected in (
        ({**told["weight_map"], "foo": shard}, "promises tensors that its shards lack: foo"),
        ({"foo": "../../secret.safetensors"}, "names the shard '../../secret.safetensors', expected files beside it"),
        (["a"], "is no index of shards"),
    ):
        index.write_text(json.dumps({"weight_map": places}))
        assert expected in one_line(tmp_path)
    index.write_text(json.dumps(told))
    (tmp_path / shard).unlink()
    assert f"no file {tmp_path / shard}" in one_line(tmp_path)


# mmpretrain

# mmpretrain/models/backbones/vision_transformer.py: TransformerEncoderLayer (ln1, attn, ln2, ffn), whose ffn is mmcv's
# FFN: layers = Sequential(Sequential(Linear, activation, Dropout), Linear, Dropout)
MM_LAYER = {
    "norm1": "ln1",
    "attn.qkv": "attn.qkv",
    "attn.proj": "attn.proj",
    "norm2": "ln2",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
}


def to_mmpretrain(tensors: dict[str, Tensor], renamed: dict[str, str]) -> dict[str, Tensor]:
    """Names of mmpretrain for MAE's: layers by MM_LAYER, `renamed` by module, the rest of the backbone as it is."""
    out = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        start, _, rest = stem.partition(".")
        index, _, module = rest.partition(".")
        if start in ("blocks", "decoder_blocks"):
            place = "backbone.layers" if start == "blocks" else "neck.decoder_blocks"
            out[f"{place}.{index}.{MM_LAYER[module]}.{leaf}"] = tensor
        elif name in renamed:
            out[renamed[name]] = tensor
        elif stem in renamed:
            out[f"{renamed[stem]}.{leaf}"] = tensor
        else:
            out[f"backbone.{name}"] = tensor
    return out


MM_BACKBONE = {"patch_embed.proj": "backbone.patch_embed.projection", "norm": "backbone.ln1"}
# necks/mae_neck.py: MAEPretrainDecoder, whose norm is mmcv's build_norm_layer(norm_cfg, D, postfix=1), named ln1
MM_NECK = {
    **{name: f"neck.{name}" for name in ("mask_token", "decoder_pos_embed", "decoder_embed", "decoder_pred")},
    "decoder_norm": "neck.ln1",
}
# configs/mae/benchmarks/vit-base-p16_8xb128-coslr-100e_in1k.py: out_type avg_featmap (ln2 after pooling), final_norm
# False, LinearClsHead (heads/linear_head.py: fc)
MM_MEAN = {**MM_BACKBONE, "fc_norm": "backbone.ln2", "head": "head.fc"}
# configs/mae/benchmarks/vit-base-p16_8xb2048-linear-coslr-90e_in1k.py: ClsBatchNormNeck (necks/mae_neck.py: bn) and
# VisionTransformerClsHead (heads/vision_transformer_head.py: layers = Sequential(head=Linear))
MM_PROBE = {**MM_BACKBONE, "head.0": "neck.bn", "head.1": "head.layers.head"}


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


def to_solo(**more: Tensor) -> dict[str, Tensor]:
    """vturrisi/solo-learn solo/methods/mae.py: backbone (timm's names), decoder = MAEDecoder; base.py: classifier."""
    return {
        **{f"backbone.{name}": tensor for name, tensor in encoder().items()},
        "classifier.weight": torch.ones(100, 48),
        "classifier.bias": torch.ones(100),
        **{f"decoder.{name}": tensor for name, tensor in decoder().items()},
        **more,
    }


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
    (lambda: {f"blocks.{i}.ls1.gamma": torch.ones(48) for i in range(3)}, "a DINOv2 ViT (it has LayerScale)"),
    (lambda: {f"blocks.{i}.gamma_1": torch.ones(48) for i in range(3)}, "a BEiT (it has LayerScale)"),
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
        ("Dinov2", {}, "a DINOv2 of transformers (it has LayerScale)"),
        ("Beit", {}, "a BEiT of transformers (it has LayerScale)"),
        ("DeiT", {}, "a DeiT (it has a distillation token)"),
        ("Swin", {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}, "a Swin transformer"),
        ("ConvNext", {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}, "a ConvNeXt"),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}, "a ResNet"),
        ("CLIPVision", {}, "a CLIP or SigLIP of transformers"),
    ],
)
def test_other_models_of_transformers_are_named(tmp_path: Path, name: str, settings: dict[str, Any], what: str) -> None:
    config = getattr(transformers, f"{name}Config")(**{**(TINY if not settings else {"image_size": 32}), **settings})
    model = getattr(transformers, f"{name}Model")(config)
    model.save_pretrained(tmp_path)
    assert refusal(Small(), tmp_path / "model.safetensors").endswith(f"; the file seems to hold {what}")
    assert f"got model_type '{config.model_type}', expected vit_mae or vit" in one_line(tmp_path)


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


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    ("file", "contents"),
    [
        ("mae.pth", lambda evil: {"model": encoder(), "args": evil}),
        ("hf/pytorch_model.bin", lambda evil: {**theirs("ViTModel").state_dict(), "x": evil}),
        ("mmpretrain.pth", lambda evil: {"meta": evil, "state_dict": to_mmpretrain(encoder(), MM_BACKBONE)}),
        ("solo.ckpt", lambda evil: {"state_dict": to_solo(), "hyper_parameters": evil}),
        ("lightning.ckpt", lambda evil: {"state_dict": encoder(), "callbacks": {"a": evil}}),
        ("run.ckpt", lambda evil: {"state_dict": Small().state_dict(), "maekit": evil}),
    ],
)
def test_nothing_in_a_pickle_runs(tmp_path: Path, file: str, contents: Callable[[Evil], object]) -> None:
    path, mark = tmp_path / file, tmp_path / "mark"
    if file.startswith("hf/"):
        theirs("ViTModel").config.save_pretrained(path.parent)
    torch.save(contents(Evil(mark)), path)
    text = one_line(path.parent if file.startswith("hf/") else path)
    assert "asks to call 'posix.mkdir'" in text or "asks to call 'nt.mkdir'" in text
    assert "it was not executed" in text
    assert not mark.exists()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_weights_of_a_folder_that_are_cut_short_are_one_line(tmp_path: Path, file: str) -> None:
    source = theirs("ViTModel")
    source.save_pretrained(tmp_path)
    if file.endswith("bin"):
        (tmp_path / "model.safetensors").unlink()
        torch.save(source.state_dict(), tmp_path / file)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-5000])
    assert "is cut short or damaged" in one_line(tmp_path)


# positions


def test_positions_tell_the_fixed_table_from_a_learned_one(tmp_path: Path) -> None:
    fixed = Small().backbone.pos_embed.detach().clone()
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
