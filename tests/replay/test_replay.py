"""A step that is not finite leaves a file, and its replay names the layer in which that began."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from maekit.cli import main
from maekit.detection.data.batch import DetBatch, InstanceMask
from maekit.errors import UserError
from maekit.replay.nan_step import NanStep, read_nan_step
from maekit.replay.packing import pack, unpack
from maekit.replay.replay import Replay, replay
from maekit.training.nan_guard import NotFiniteError
from tests.helpers_run import At, OneBadImage, tiny

CPU = torch.device("cpu")
FC1 = "backbone.blocks.1.mlp.fc1"
RUN = "imagenet_finetune/smoke/0"


def failed(folder: Path, what: Callable[..., None], hook: str = "train", **options: Any) -> tuple[Path, str]:
    """The file and the message of a tiny run in which something happens at step 2."""
    options = {"trainer__max_steps": 6, "model__mixup": 0.8, "model__drop_path": 0.3} | options
    with pytest.raises(NotFiniteError) as caught:
        tiny(folder, **options).fit(callbacks=[At(2, what, hook)])
    return folder / RUN / "nan_step.pt", str(caught.value)


def spoil_weight(trainer: Any, module: Any) -> None:
    module.model.get_submodule(FC1).weight.data[3, 5] = float("nan")


def spoil_gradient(trainer: Any, module: Any) -> None:
    next(module.model.head.parameters()).grad[...] = float("inf")


def replayed(path: Path) -> tuple[NanStep, Replay]:
    step = read_nan_step(path)
    return step, replay(step, path, CPU, double=True)


@pytest.fixture(scope="module")
def of_gradient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a step with a finite loss, in four device batches."""
    folder = tmp_path_factory.mktemp("gradient")
    path, message = failed(folder, spoil_gradient, "gradient", data__device_batch_size=4)
    assert "the gradient of model.head" in message
    return path


def test_the_file_is_plain_and_its_replay_is_the_step(of_gradient: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mixup and drop path are on; the last device batch gave the loss that the run saw, bit for bit."""
    plain = torch.load(of_gradient, weights_only=True)
    assert plain["replay"]["facts"]["of_gradient"]
    step, found = replayed(of_gradient)
    assert [batch.place for batch in step.batches] == [0, 1, 2, 3] == [*range(step.facts.accumulation)]
    assert (found.verdict.where, found.batch.place) == ("none", 3)
    assert found.traces.own.loss == step.facts.loss
    assert found.traces.double is not None and found.traces.double.loss == pytest.approx(step.facts.loss, rel=1e-5)
    assert main(["replay", str(of_gradient.parent)]) == 1
    assert "finite this time" in capsys.readouterr().out


def test_a_weight_is_named_with_its_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, message = failed(tmp_path / "runs", spoil_weight)
    monkeypatch.chdir(tmp_path)
    assert f"maekit replay {path} ({path.stat().st_size / 1e6:.1f} MB)" in message
    capsys.readouterr()
    assert main(["replay", "smoke/0", "--json"]) == 0  # a run's number, as every command takes it
    found = json.loads(capsys.readouterr().out)
    assert (found["where"], found["layer"]) == ("weight", FC1)
    assert f"1 value of {FC1}.weight" in found["cause"]
    rows = {(row["name"], row["kind"]): row["run"]["max_abs"] for row in found["layers"]}
    assert rows[FC1, "output"] == "nan" and isinstance(rows["backbone.blocks.0.mlp.fc2", "output"], float)
    assert main(["replay", str(path)]) == 0
    assert any(line.startswith(f"> {FC1}") for line in capsys.readouterr().out.splitlines())
    assert main(["replay", str(path), "--device", "cuda:77"]) == UserError.status
    assert "--device cuda:77 cannot be used here" in capsys.readouterr().err


def test_an_image_is_named_with_its_place_in_the_data(tmp_path: Path) -> None:
    session = tiny(tmp_path, data__device_batch_size=8, trainer__max_epochs=1)
    images = session.data.train_dataset(0)
    session.data.train_dataset = lambda seed: OneBadImage(images, 7, float("inf"))  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError, match="maekit replay"):
        session.fit()
    step, found = replayed(tmp_path / RUN / "nan_step.pt")
    assert (len(step.batches), found.verdict.where) == (1, "batch")
    assert found.verdict.layer == "backbone.patch_embed.proj"
    assert "infinity in 1 value of image of 1 sample" in found.verdict.text
    assert "(in the data's listing 7)" in found.verdict.text


@pytest.fixture(scope="module")
def finite(of_gradient: Path) -> dict[str, Any]:
    """The contents of a file in which nothing is wrong, with one device batch."""
    contents: dict[str, Any] = torch.load(of_gradient, weights_only=True)
    contents["replay"]["batches"] = contents["replay"]["batches"][:1]
    return contents


def changed(finite: dict[str, Any], path: Path, **facts: Any) -> dict[str, Any]:
    """A copy of the contents in which facts are others, saved too."""
    weights = {name: tensor.clone() for name, tensor in finite["state_dict"].items()}
    step = {**finite["replay"], "facts": {**finite["replay"]["facts"], **facts}}
    contents = {**finite, "state_dict": weights, "replay": step}
    torch.save(contents, path)
    return contents


@pytest.mark.parametrize(
    ("precision", "bias", "words"),
    [
        ("16-mixed", 1e5, "overflow in fp16 that fp32 does not have"),
        ("bf16-mixed", 3.4e38, "overflow in bf16 that fp32 does not have"),
        ("32-true", 3e38, "in float64 it is finite"),
        ("16-mixed", 3e38, "not finite in fp32 either"),
    ],
)
def test_an_overflow_is_named_with_its_layer(
    precision: str, bias: float, words: str, finite: dict[str, Any], tmp_path: Path
) -> None:
    """fc1's output is its bias; where that is twice 3e38, fp32 overflows too."""
    contents = changed(finite, tmp_path / "step.pt", precision=precision)
    contents["state_dict"][f"model.{FC1}.bias"][3] = bias
    if bias == 3e38:
        contents["state_dict"][f"model.{FC1}.weight"][3] = 0.0
        contents["state_dict"]["model.backbone.blocks.1.norm2.weight"][:] = 0.0
        contents["state_dict"]["model.backbone.blocks.1.norm2.bias"][:] = 1.0
        contents["state_dict"][f"model.{FC1}.weight"][3, 0] = bias
    torch.save(contents, tmp_path / "step.pt")
    _, found = replayed(tmp_path / "step.pt")
    assert (found.verdict.where, found.verdict.layer) == ("forward", FC1)
    assert words in found.verdict.text


def test_a_gradient_that_overflows_is_named(finite: dict[str, Any], tmp_path: Path) -> None:
    """fp16's scaler multiplied the loss by too much: the first gradient is that of the logits."""
    changed(finite, tmp_path / "step.pt", precision="16-mixed", loss_scale=2.0**40)
    _, found = replayed(tmp_path / "step.pt")
    assert (found.verdict.where, found.verdict.layer) == ("backward", "head.fc")
    assert "the first of the backward pass" in found.verdict.text
    assert "overflow in fp16: in fp32 it is finite" in found.verdict.text


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda contents: contents["replay"].update(format=2), "has format 2 of maekit"),
        (lambda contents: contents["replay"].pop("facts"), "is damaged, expected all of a step in it: 'facts'"),
        (lambda contents: contents["replay"].update(batches=[]), "is damaged, expected a device batch"),
        (lambda contents: contents.pop("replay"), "is no step to replay"),
        (lambda contents: contents["maekit"].update(task="elsewhere/mine.py"), "no task file"),
        (lambda contents: contents["state_dict"].pop("model.head.fc.bias"), "does not fit task imagenet_finetune"),
        (lambda contents: contents["replay"]["batches"][0].update(batch=["fields", "os", "x", {}]), "is a os.x"),
        (lambda contents: contents["replay"]["batches"][0].update(batch=["magic"]), "a value of kind 'magic'"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    spoil: Callable[[dict[str, Any]], object],
    expected: str,
    finite: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    contents = changed(finite, tmp_path / "step.pt")
    contents["maekit"] = {**contents["maekit"]}
    contents["replay"]["batches"] = [{**batch} for batch in contents["replay"]["batches"]]
    spoil(contents)
    torch.save(contents, tmp_path / "step.pt")
    assert main(["replay", str(tmp_path / "step.pt")]) == UserError.status
    err = capsys.readouterr().err
    assert expected in err and err.count("\n") == 1


def test_other_files_are_refused_in_one_line(
    of_gradient: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(of_gradient.read_bytes()[:-2000])
    given = {
        (str(cut),): "cut.pt",
        (str(tmp_path),): "has no nan_step.pt",
        (str(tmp_path / "none.pt"),): "none.pt",
        (str(of_gradient), "--task", "ade20k_upernet"): "is of task imagenet_finetune, got --task ade20k_upernet",
    }
    for words, expected in given.items():
        assert main(["replay", *words]) == UserError.status
        err = capsys.readouterr().err
        assert expected in err and err.count("\n") == 1


def test_no_file_where_none_is_wanted_or_none_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, message = failed(tmp_path / "off", spoil_weight, run__keep_nan_step=False)
    assert not path.exists() and "replay" not in message

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maekit.training.callbacks.checkpoint_io.torch.save", full)
    path, message = failed(tmp_path / "full", spoil_weight)
    assert not path.exists()
    assert "loss is nan at step 2" in message and "the step was not kept (" in message
    assert not list(tmp_path.rglob("*.tmp*"))


class Odd(NamedTuple):
    """A batch that no file can hold."""

    what: object


def test_a_batch_is_the_same_after_it_was_packed() -> None:
    polygon, bitmap = np.arange(6, dtype=np.float64), np.eye(4, dtype=bool)
    batch = DetBatch(
        torch.rand(2, 3, 4, 4),
        torch.tensor([[4, 3], [2, 4]]),
        [torch.rand(1, 4), torch.zeros(0, 4)],
        [torch.tensor([1]), torch.zeros(0, dtype=torch.int64)],
        [[InstanceMask((polygon,), None), InstanceMask((), bitmap)], []],
        torch.tensor([5, 6]),
    )
    again = unpack(pack(batch))
    assert isinstance(again, DetBatch) and isinstance(again.masks[0][1], InstanceMask)
    assert torch.equal(again.image, batch.image) and torch.equal(again.boxes[0], batch.boxes[0])
    assert np.array_equal(again.masks[0][0].polygons[0], polygon)
    assert np.array_equal(again.masks[0][1].bitmap, bitmap)  # type: ignore[arg-type]
    assert unpack(pack({"a": (1, None, [2.5])})) == {"a": (1, None, [2.5])}
    with pytest.raises(UserError, match="a batch holds a object"):
        pack(Odd(object()))
