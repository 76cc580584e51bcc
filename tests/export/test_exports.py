"""An export's surroundings: transformers and timm predict of photos that are not square what the run predicts."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from timm import data as timm_data
from torch import Tensor

import maekit
from maekit.cli import main
from maekit.commands.shared.loaded_model import load_model
from maekit.data.images.transforms import EvalTransform
from maekit.export.convert import convert
from maekit.training.metadata import card
from maekit.weights.describe.inspect import inspect
from maekit.weights.get.find import find_weights
from maekit.weights.state.state_file import read_state
from tests.conftest import TINY, few_digits
from tests.numeric import assert_float64
from tests.peers import TIMM_READS_FOLDERS
from tests.weights.helpers import encoder, peer, released

pytestmark = pytest.mark.numeric

SIZES = [(90, 61), (48, 130), (64, 64), (33, 47), (200, 77), (31, 52)]  # odd differences too: where a crop is rounded


def photos(folder: Path) -> list[Path]:
    """Pictures of several shapes whose middle differs from their whole."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    files = []
    for index, (width, height) in enumerate(SIZES * 2):
        _picture(draw, width, height).save(folder / f"{index:02}.png")
        files.append(folder / f"{index:02}.png")
    return files


def checkpoint(path: Path, task: str, **overrides: Any) -> Path:
    """A checkpoint of a run that was not trained: random weights, and the card that a run writes."""
    values: dict[str, Any] = {
        word.removeprefix("--").split("=")[0]: word.split("=")[1] for word in TINY if "trainer" not in word
    }
    values |= {"data.root": str(few_digits()), "data.eval_crop_fraction": 0.75, **overrides}
    numbers = {
        key: int(value) if isinstance(value, str) and value.isdigit() else value for key, value in values.items()
    }
    session = maekit.build(task, recipe="smoke", overrides=numbers)
    torch.manual_seed(0)
    for weight in session.model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    for name, tensor in session.model.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(tensor)
        if name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2)
    _spread(session)
    state = {f"model.{name}": tensor for name, tensor in session.model.state_dict().items()}
    about = {**card(session.settings, session.model, session.data), "step": 1}
    torch.save({"state_dict": state, "maekit": about}, path)
    return path


@torch.no_grad()
def _spread(session: Any) -> None:
    """Sets the classifier so that pictures are of several classes, as they are to a trained one."""
    transform = EvalTransform(**session.data.input_transform())
    draw = np.random.default_rng(1)
    batch = torch.stack([transform(_picture(draw, 60, 40)) for _ in range(16)])
    logits = session.model.eval()(batch)
    head = session.model.head.fc
    head.bias.sub_(logits.mean(0))
    scale = 1 / logits.std(0)
    head.weight.mul_(scale[:, None])
    head.bias.mul_(scale)


def _picture(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    small = draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def predicted(checkpoint: Path, images: Path, output: Path) -> list[tuple[str, float]]:
    """The best class of each image and its probability, by `maekit predict`."""
    words = ["predict", "--ckpt_path", str(checkpoint), "--images", str(images), "--output", str(output)]
    assert main([*words, "--device", "cpu"]) == 0
    with (output / "predictions.csv").open(encoding="utf-8") as file:
        return [(row["class_1"], float(row["probability_1"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("task", ["imagenet_finetune", "imagenet_linprobe"])
def test_transformers_pipeline_predicts_as_the_run_does(tmp_path: Path, task: str) -> None:
    settings = {"model.pooling": "class"}
    run, files = checkpoint(tmp_path / "best.ckpt", task, **settings), photos(tmp_path / "photos")
    lines = convert(run, "hf", tmp_path / "hf")
    assert any(line.startswith("transform: short side to") for line in lines)
    assert not any(line.startswith("assumed") for line in lines)
    pipe: Any = transformers.pipeline("image-classification", model=str(tmp_path / "hf"), device=torch.device("cpu"))
    found = [pipe(str(file), top_k=1)[0] for file in files]
    expected = predicted(run, tmp_path / "photos", tmp_path / "out")
    assert len({label for label, _ in expected}) > 2
    assert [one["label"] for one in found] == [label for label, _ in expected]
    # transformers resizes tensors of bytes, Pillow rounds in between: a level of 255 here and there
    np.testing.assert_allclose([one["score"] for one in found], [share for _, share in expected], atol=0.05)


@pytest.mark.parametrize(("task", "pooling"), [("imagenet_finetune", "mean"), ("imagenet_finetune", "class")])
@pytest.mark.parametrize("name", ["model.safetensors", "mine.pth"])
def test_timms_transform_and_network_predict_as_the_run_does(
    tmp_path: Path, task: str, pooling: str, name: str
) -> None:
    timm_predicts_as(tmp_path, checkpoint(tmp_path / "best.ckpt", task, **{"model.pooling": pooling}), name)


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_a_probe_of_either_pooling_goes_to_timm(tmp_path: Path, pooling: str) -> None:
    run = checkpoint(tmp_path / "best.ckpt", "imagenet_linprobe", **{"model.pooling": pooling})
    head = inspect(run).classifier
    assert head is not None and head.pooling == pooling
    timm_predicts_as(tmp_path, run, "model.safetensors", folded=True)


def timm_predicts_as(tmp_path: Path, run: Path, name: str, *, folded: bool = False) -> None:
    peer: Any = timm_data
    files, out = photos(tmp_path / "photos"), tmp_path / "timm" / name
    out.parent.mkdir()
    convert(run, "timm", out)
    if name == "model.safetensors" and TIMM_READS_FOLDERS:
        model: Any = timm.create_model(f"local-dir:{out.parent}", pretrained=True)
        config = peer.resolve_data_config({}, model=model)
        names = model.pretrained_cfg["label_names"]
    else:
        config = json.loads(out.with_name("config.json" if name == "model.safetensors" else f"{name}.json").read_text())
        model = timm.models.vision_transformer.VisionTransformer(
            **config["model_args"], num_classes=config["num_classes"]
        )
        state = load_file(out) if name == "model.safetensors" else torch.load(out, weights_only=True)
        model.load_state_dict(state, strict=True)
        config, names = (
            peer.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"]),
            config["label_names"],
        )
    transform: Any = peer.create_transform(**config, is_training=False)
    batch = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.inference_mode():
        shares: Tensor = model.eval().double()(batch.double()).softmax(1)
        network, about = load_model(run, "cpu")
        ours = torch.stack([EvalTransform(**about.input)(Image.open(file).convert("RGB")) for file in files])
        torch.testing.assert_close(batch, ours, rtol=0, atol=1e-6)  # of values up to 3: the same pixels
        found = network.double()(batch.double()).softmax(1)
        if folded:  # into weights that are rounded to fp32; what is computed is float64, on any CPU the same
            torch.testing.assert_close(shares, found, rtol=0, atol=1e-5)
        else:
            assert_float64(shares, found)
    expected = predicted(run, tmp_path / "photos", tmp_path / "out")
    assert [names[index] for index in shares.argmax(1).tolist()] == [label for label, _ in expected]


@pytest.mark.parametrize("to", ["hf", "timm", "mae"])
def test_classes_and_transform_come_back(tmp_path: Path, to: Any) -> None:
    run = checkpoint(tmp_path / "best.ckpt", "imagenet_finetune", **{"model.pooling": "class"})
    out = tmp_path / ("hf" if to == "hf" else "model.safetensors" if to == "timm" else "mae.pth")
    convert(run, to, out)
    meta, run_card = read_state(out).meta, read_state(run).meta["maekit"]
    assert isinstance(run_card, dict) and isinstance(meta["input"], dict)
    assert list(meta["class_names"]) == run_card["class_names"]  # type: ignore[call-overload]
    assert meta["input"]["mean"] == run_card["input"]["mean"]
    assert int(meta["input"]["image_size"] / meta["input"]["crop_fraction"]) == int(
        run_card["input"]["image_size"] / run_card["input"]["crop_fraction"]
    )


def test_a_folder_of_timm_is_read_as_its_weights(tmp_path: Path) -> None:
    run = checkpoint(tmp_path / "best.ckpt", "imagenet_finetune", **{"model.pooling": "class"})
    (tmp_path / "timm").mkdir()
    convert(run, "timm", tmp_path / "timm/model.safetensors")
    assert find_weights(tmp_path / "timm") == tmp_path / "timm/model.safetensors"
    assert main(["weights", "inspect", str(tmp_path / "timm")]) == 0


def test_names_of_several_classes_are_reported(tmp_path: Path) -> None:
    classifier = dict(peer(pooling="class", classes=3).state_dict())
    source = released(tmp_path / "a.pth", classifier, class_names=["crane", "crane", "tench"])
    assert any("'crane'" in line for line in convert(source, "hf", tmp_path / "hf"))


def test_what_the_file_does_not_say_is_named_as_assumed(tmp_path: Path) -> None:
    source = released(tmp_path / "a.pth", encoder())
    for to, out in (("hf", tmp_path / "hf"), ("timm", tmp_path / "b.pth")):
        assert "assumed: ImageNet's mean and deviation and crop of 0.875" in "\n".join(convert(source, to, out))  # type: ignore[arg-type]


def test_a_processor_that_squeezes_gives_its_colours_alone(tmp_path: Path) -> None:
    convert(released(tmp_path / "a.pth", encoder()), "hf", tmp_path / "hf")
    file = tmp_path / "hf" / "preprocessor_config.json"
    squeeze = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    file.write_text(json.dumps(squeeze))
    assert read_state(tmp_path / "hf").meta["input"] == {"mean": [0.5] * 3, "std": [0.25] * 3}
    file.write_text("{")
    assert "input" not in read_state(tmp_path / "hf").meta
