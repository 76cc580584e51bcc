"""Several sets of weights in one file: named, chosen with `FILE#KEY`, and every tensor of the file counted."""

import argparse
import datetime
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from maekit.cli import main
from maekit.errors import UserError
from maekit.weights.describe.inspect import inspect
from maekit.weights.describe.uses import uses
from maekit.weights.get.find import find_weights
from maekit.weights.load.backbone import load_backbone
from maekit.weights.load.bands import Bands
from maekit.weights.load.load import read_state
from tests.weights.helpers import Small, encoder, load, refusal, same

State = dict[str, Tensor]


def other() -> State:
    """Another encoder."""
    return {name: tensor + 1 for name, tensor in encoder().items()}


def under(prefix: str, tensors: State) -> State:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def inside(wrapper: str, tensors: State) -> State:
    """Names as torch gives them where each block was compiled, recomputed or sharded by itself."""
    return {re.sub(r"^blocks\.\d+\.", rf"\g<0>{wrapper}.", name): tensor for name, tensor in tensors.items()}


AVERAGES = ["model_ema", "state_dict_ema", "ema", "ema_state_dict", "model_ema_state_dict", "swa_model", "teacher"]


@pytest.mark.parametrize("average", AVERAGES)
def test_the_other_set_is_named_and_can_be_chosen(tmp_path: Path, average: str) -> None:
    main_key = "state_dict" if "state_dict" in average else "model"
    contents = {main_key: encoder(), average: other(), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}
    path = tmp_path / "a.pth"
    torch.save(contents, path)
    report = load(Small(pooling="class"), path)
    text = "\n".join(report.lines())
    assert f"{path}#{average}" in text
    assert f"beside    43: {average} (42), optimizer (1)" in text
    model = Small(pooling="class")
    load(model, Path(f"{path}#{average}"))
    assert torch.equal(model.backbone.cls_token, other()["cls_token"])  # type: ignore[arg-type]
    same(read_state(f"{path}#{main_key}").tensors, encoder())


@pytest.mark.parametrize("without", [Tensor.to_sparse, lambda tensor: tensor.to("meta")])
def test_a_tensor_without_its_numbers_is_refused_by_all_that_reads(
    tmp_path: Path, without: Callable[[Tensor], Tensor]
) -> None:
    path, name = tmp_path / "a.pth", "blocks.0.mlp.fc1.weight"
    torch.save({"model": {**encoder(), name: without(encoder()[name])}}, path)
    for read in (read_state, inspect):
        with pytest.raises(UserError, match=name):
            read(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"teacher": t},
        lambda t: {"model_state_dict": t, "epoch": 3},
        lambda t: {"net": t},
        lambda t: {"params": t},
        lambda t: {"encoder": t, "decoder": {"w": torch.ones(2)}},
        lambda t: {"state_dict": {"model": t}},
        lambda t: {"model_ema": t},
        lambda t: {"model": {"module": t}},
        lambda t: {"checkpoint": {"model": {"params": t}}},
        lambda t: {"network": under("module.", t), "model": "vit_base"},
        lambda t: {"model_state_dict": t, "ema_state_dict": other()},
        lambda t: {"net": t, "net_ema": other()},
        lambda t: {**under("module.", t), "n_averaged": torch.tensor(7)},
        lambda t: {"model": inside("_orig_mod", t)},
        lambda t: {"state_dict": under("module._orig_mod.", inside("_checkpoint_wrapped_module", t))},
        lambda t: under("_fsdp_wrapped_module.", inside("_fsdp_wrapped_module", t)),
    ],
)
def test_wrapped_files_are_unwrapped(tmp_path: Path, wrap: Callable[[State], dict[str, Any]]) -> None:
    torch.save(wrap(encoder()), tmp_path / "a.pth")
    model = Small(pooling="class")
    load(model, tmp_path / "a.pth")
    for name, tensor in encoder().items():
        assert torch.equal(model.state_dict()[f"backbone.{name}"], tensor), name
    assert uses(inspect(tmp_path / "a.pth"))["fine_tuning"].possible


@pytest.mark.parametrize(
    ("contents", "keys"),
    [
        ({"student": encoder(), "teacher": other()}, ("student", "teacher")),
        ({"student": under("backbone.", encoder()), "teacher": under("backbone.", other())}, ("student", "teacher")),
        ({"a": encoder(), "b": other()}, ("a", "b")),
        ({"encoder": encoder(), "target_encoder": other(), "model": None}, ("encoder", "target_encoder")),
        (
            {"state_dict": {**under("student.backbone.", encoder()), **under("teacher.backbone.", other())}},
            ("student", "teacher"),
        ),
        (
            {**under("module.encoder_q.", encoder()), **under("module.encoder_k.", other())},
            ("module.encoder_q", "module.encoder_k"),
        ),
        ({**encoder(), **under("ema.", other())}, (".", "ema")),
    ],
)
def test_two_sets_of_equal_rank_are_asked_for(tmp_path: Path, contents: dict[str, Any], keys: tuple[str, str]) -> None:
    path = tmp_path / "a.pth"
    torch.save(contents, path)
    if keys[0] != "encoder":  # whose follower is told by its name
        text = refusal(Small(), path)
        assert f"{path}#{keys[0]} or {path}#{keys[1]}" in text
    inside = [f"state_dict.{key}" for key in keys] if "state_dict" in contents else keys
    for key, expected in zip((*keys, *inside), (encoder(), other()) * 2, strict=True):
        state = read_state(f"{path}#{key}")
        same({name: state.tensors[name] for name in expected}, expected)


def test_a_key_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    torch.save({"model": encoder(), "model_ema": other()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"no weights under 'model_em'.*'model_ema'"):
        load(Small(), Path(f"{tmp_path / 'a.pth'}#model_em"))


def test_a_folder_holds_one_set(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    with pytest.raises(UserError, match="leave #model_ema out"):
        read_state(f"{tmp_path / 'hf'}#model_ema")


def test_a_file_with_a_number_sign_in_its_name_is_itself(tmp_path: Path) -> None:
    torch.save({"model": encoder()}, tmp_path / "run#3.pth")
    assert read_state(tmp_path / "run#3.pth").tensors.keys() == encoder().keys()
    assert find_weights(tmp_path / "run#3.pth") == tmp_path / "run#3.pth"


def test_every_way_to_name_weights_takes_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": encoder(), "model_ema": other()}, tmp_path / "a.pth")
    given = f"{tmp_path / 'a.pth'}#model_ema"
    assert torch.equal(load_backbone(given, image_size=32).cls_token, other()["cls_token"])  # type: ignore[arg-type]
    assert main(["weights", "inspect", given]) == 0
    assert "model_ema" in capsys.readouterr().out
    assert main(["weights", "convert", given, "--to", "timm", str(tmp_path / "out.pth")]) == 0
    assert torch.equal(read_state(tmp_path / "out.pth").tensors["cls_token"], other()["cls_token"])


def test_inspect_names_the_other_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": encoder(), "model_ema": other()}, tmp_path / "a.pth")
    assert main(["weights", "inspect", str(tmp_path / "a.pth")]) == 0
    assert f"{tmp_path / 'a.pth'}#model_ema" in capsys.readouterr().out
    facts = inspect(tmp_path / "a.pth")
    assert (facts.sets, facts.beside) == (("model_ema",), {"model_ema": 42})


def test_an_averaged_model_of_torch_loads(tmp_path: Path) -> None:
    source, model = Small(), Small()
    torch.save(AveragedModel(source).state_dict(), tmp_path / "swa.pth")
    load(model, tmp_path / "swa.pth", allow_new=(), allow_unused=())
    same(dict(model.state_dict()), dict(source.state_dict()))


def test_masked_image_modelling_of_transformers_loads(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 192,
    }
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, encoder_stride=8, layer_norm_eps=1e-6)
    network: Any = transformers.ViTForMaskedImageModeling(config)
    network.save_pretrained(tmp_path / "mim")
    model = Small(pooling="class")
    report = load(model, tmp_path / "mim", allow_unused=("decoder*",))
    assert report.coverage == 1.0
    assert torch.equal(model.backbone.cls_token, network.vit.embeddings.cls_token)  # type: ignore[arg-type]


ARGS = [
    {"output": Path("/tmp/out/run"), "resume": PurePosixPath("a/b")},
    {"data": PureWindowsPath("C:\\data")},
    {"timeout": datetime.timedelta(minutes=3)},
]


@pytest.mark.parametrize("values", ARGS)
def test_args_may_hold_paths(tmp_path: Path, values: dict[str, Any]) -> None:
    torch.save({"model": encoder(), "args": argparse.Namespace(**values)}, tmp_path / "a.pth")
    state = read_state(tmp_path / "a.pth")
    same(state.tensors, encoder())
    arguments: Any = state.meta["args"]
    if "output" in values:
        assert arguments == {"output": "/tmp/out/run", "resume": "a/b"}


# channels


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_other_channels_are_explained_and_the_advice_works(tmp_path: Path, channels: int) -> None:
    weight = torch.randn(48, channels, 8, 8)
    path = tmp_path / "a.pth"
    torch.save({"model": {**encoder(), "patch_embed.proj.weight": weight}}, path)
    mended = weight.repeat(1, 3, 1, 1) / 3 if channels == 1 else weight[:, [2, 1, 0]]
    if channels == 1:  # grey needs no advice: what it gave of grey it gives of grey repeated to three
        model = Small()
        load(model, path, bands=Bands())
        assert torch.equal(model.backbone.patch_embed.proj.weight, mended)
        assert load_backbone(path, image_size=32).channels == 1
    else:
        text = refusal(Small(), path, bands=Bands())
        assert f"patch filters of {channels} channels that the file does not name" in text and "lacks" not in text
        with pytest.raises(UserError, match=f"{channels} channels that the file does not name"):
            load_backbone(path, image_size=32)
    torch.save({"model": {**encoder(), "patch_embed.proj.weight": mended}}, path)
    assert load(Small(), path).coverage == 1.0


def test_a_repeated_grey_filter_gives_what_the_grey_one_gave() -> None:
    grey, image = nn.Conv2d(1, 4, 8, 8, bias=False), torch.randn(2, 1, 16, 16, dtype=torch.float64)
    weight = grey.double().weight
    expected = nn.functional.conv2d(image, weight, stride=8)
    found = nn.functional.conv2d(image.repeat(1, 3, 1, 1), weight.repeat(1, 3, 1, 1) / 3, stride=8)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_a_tensor_of_another_shape_is_not_said_to_be_lacking(tmp_path: Path) -> None:
    torch.save({"model": {**encoder(), "cls_token": torch.zeros(1, 2, 48)}}, tmp_path / "a.pth")
    facts = inspect(tmp_path / "a.pth")
    assert facts.misshapen == ("cls_token",) and facts.missing == ()
    assert "it has cls_token in another shape" in uses(facts)["features"].how


def test_the_trained_weights_beside_a_runs_average_can_be_chosen(tmp_path: Path) -> None:
    average, trained = Small(), Small()
    contents = {
        "state_dict": {f"model.{name}": tensor for name, tensor in average.state_dict().items()},
        "trained_weights": {f"model.{name}": tensor for name, tensor in trained.state_dict().items()},
        "maekit": {"class_names": list("abcde")},
    }
    torch.save(contents, tmp_path / "last.ckpt")
    for given, source in (
        (tmp_path / "last.ckpt", average),
        (Path(f"{tmp_path / 'last.ckpt'}#trained_weights"), trained),
    ):
        model = Small()
        report = load(model, given, allow_new=(), allow_unused=())
        same(dict(model.state_dict()), dict(source.state_dict()))
    assert "sets    read: trained_weights" in "\n".join(report.lines())


def test_settings_of_mmengine_beside_the_weights_are_left_alone(tmp_path: Path) -> None:
    settings = import_module("mmengine.config").ConfigDict
    torch.save({"model": encoder(), "cfg": settings(a=1, b=settings(c=[1, 2]))}, tmp_path / "a.pth")
    same(read_state(tmp_path / "a.pth").tensors, encoder())
