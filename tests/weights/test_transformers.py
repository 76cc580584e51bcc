"""Folders of transformers give the same tensors under MAE's names, and their problems are one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64
from tests.peers import newest_names
from tests.weights.helpers import (
    MM_BACKBONE,
    Small,
    encoder,
    images,
    load,
    one_line,
    refusal,
    same,
    to_mmpretrain,
    to_solo,
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
    assert_float64(model.double().backbone(images(32, 32).double()).tokens, expected)
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
        ({"model_type": "swin"}, "got model_type 'swin', expected vit_mae, vit, dinov2, "),
        ({}, "got model_type None, expected vit_mae, vit, dinov2, "),
        ([1], "got model_type None, expected vit_mae, vit, dinov2, "),
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


@pytest.mark.parametrize(
    ("name", "settings", "what"),
    [
        ("DeiT", {}, "a DeiT (it has a distillation token)"),
        ("Swin", {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}, "a Swin transformer"),
        ("ConvNext", {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}, "a ConvNeXt"),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}, "a ResNet"),
    ],
)
def test_other_models_of_transformers_are_named(tmp_path: Path, name: str, settings: dict[str, Any], what: str) -> None:
    config = getattr(transformers, f"{name}Config")(**{**(TINY if not settings else {"image_size": 32}), **settings})
    model = getattr(transformers, f"{name}Model")(config)
    model.save_pretrained(tmp_path)
    assert refusal(Small(), tmp_path / "model.safetensors").endswith(f"; the file seems to hold {what}")
    assert f"got model_type '{config.model_type}', expected vit_mae, vit, dinov2, " in one_line(tmp_path)


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
