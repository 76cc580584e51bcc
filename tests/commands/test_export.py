"""`maekit export`: a file with its check beside it, and one line for what cannot be exported."""

import errno
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from maekit.classification.model import Classifier
from maekit.cli import main
from maekit.export.graph.make import work_folder
from maekit.export.graph.torch_file import write_torch
from maekit.runs.lock import only_writer
from tests.conftest import few_digits
from tests.helpers_run import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tiny(tmp_path_factory.mktemp("run"), trainer__max_steps=2).fit()["folder"])


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    """The run as torch.export's file, under its usual name."""
    assert main(["export", str(run), "--to", "torch", "--samples", "6"]) == 0
    return run / "model.pt2"


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("maekit: ")]
    assert "unexpected" not in line
    return line


def test_the_check_lies_beside_the_file(file: Path) -> None:
    check = json.loads((file.parent / "model.pt2.check.json").read_text())
    assert check["file"] == "model.pt2" and check["passed"] is True and check["equal"] == 1.0
    assert check["samples"] == "6 of 20 validation images" and set(check["differences"]) == {"logits", "probabilities"}
    assert check["num_counted"] == 6 and check["limit"] == {"difference": 1e-4}
    assert not list(file.parent.glob(".export-*"))


def test_an_export_overwrites_nothing(file: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    assert "exists already" in error_of(["export", str(run), "--to", "torch"], capsys)
    assert file.read_bytes() == before


def test_a_file_is_compared_again_and_one_of_other_weights_is_found(
    file: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Path(shutil.copy(file, tmp_path))
    assert main(["export", str(run), "--check", str(copied), "--samples", "4"]) == 0
    assert "4 of 20 validation images" in capsys.readouterr().out
    contents = torch.load(run / "best.ckpt", weights_only=True)
    contents["state_dict"]["model.head.fc.bias"][0] += 0.01
    torch.save(contents, tmp_path / "other.ckpt")
    line = error_of(["export", str(tmp_path / "other.ckpt"), "--check", str(copied), "--samples", "4"], capsys)
    assert "logits differs by" in line
    assert json.loads((tmp_path / "model.pt2.check.json").read_text())["passed"] is False


def test_a_live_run_is_exported_with_a_word_of_its_step(
    run: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_writer(run):
        assert main(["export", str(run), "--check", str(file), "--samples", "2"]) == 0
    assert "still being written" in capsys.readouterr().out
    assert main(["export", str(run), "--check", str(file), "--samples", "2"]) == 0
    assert "still being written" not in capsys.readouterr().out


@pytest.mark.slow
def test_images_of_a_folder_or_made_ones_take_the_place_of_missing_data(
    run: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = torch.load(run / "best.ckpt", weights_only=True)
    contents["maekit"]["config"]["data"]["root"] = str(tmp_path / "gone")
    alone = tmp_path / "alone.ckpt"
    torch.save(contents, alone)
    check = ["export", str(alone), "--check", str(file), "--samples", "3"]
    for more, images in (
        ([], "3 images of made noise"),
        (["--images", str(few_digits() / "val")], "3 of 20 images"),
        (["--root", str(few_digits())], "3 of 20 validation images"),
    ):
        assert main([*check, *more]) == 0
        assert images in capsys.readouterr().out
    assert "--data.root" in error_of([*check, "--root", str(tmp_path / "nothere")], capsys)


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ([], "--to onnx"),
        (["--to", "torch", "--precision", "int8"], "int8"),
        (["--to", "torch", "--opset", "20"], "--opset"),
        (["--to", "torch", "--check", "x.pt2"], "--check"),
        (["--to", "torch", "--output", "model.onnx"], ".pt2"),
        (["--to", "onnx", "--images", "x", "--root", "y"], "one of them"),
        (["--check", "missing.onnx"], "missing.onnx"),
        (["--to", "torch", "--task", "nothing", "--output", "named.onnx"], ".pt2"),  # before anything is loaded
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    words: list[str], fact: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fact in error_of(["export", str(run), *words], capsys)


@pytest.mark.slow
def test_features_are_not_predicted_with_and_are_not_compared_with_predictions(
    run: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "features.pt2"
    assert (
        main(["export", "mae_vit_smoke", "--to", "torch", "--features", "--samples", "2", "--output", str(made)]) == 0
    )
    assert "made noise" in capsys.readouterr().out
    photos = str(few_digits() / "val")
    assert "features" in error_of(["predict", photos, "--model", str(made), "--output", str(tmp_path / "out")], capsys)
    assert "another model" in error_of(["export", str(run), "--check", str(made)], capsys)
    assert "predictions" in error_of(["export", str(run), "--check", str(file), "--features"], capsys)


def test_an_exported_file_in_the_place_of_the_run_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--check {file}" in error_of(["export", str(file), "--to", "torch"], capsys)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full stands for a full disk")
def test_a_full_disk_ends_the_writing_in_an_error(tmp_path: Path) -> None:
    """torch's archive writer writes once more when it is destroyed, where a second error ends the process."""
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    (tmp_path / "model.pt2").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        write_torch(program, tmp_path / "model.pt2", {})
    with pytest.raises(OSError, match=r"wanted\.pt2"), work_folder(tmp_path / "wanted.pt2"):
        raise OSError(errno.ENOSPC, "No space left")
    assert not list(tmp_path.glob(".export-*"))


def test_a_file_predicts_what_the_run_does(run: Path, file: Path, tmp_path: Path) -> None:
    photos = str(few_digits() / "val")
    tables = []
    for model in (run, file):
        output = tmp_path / model.name
        assert main(["predict", photos, "--model", str(model), "--output", str(output), "--top", "1"]) == 0
        tables.append((output / "predictions.csv").read_text().splitlines())
    ours, theirs = ([line.split(",") for line in table] for table in tables)
    assert len(ours) == 21 and [row[:2] for row in ours] == [row[:2] for row in theirs]
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert float(a[2]) == pytest.approx(float(b[2]), abs=1e-4)


def test_an_exported_file_takes_neither_device_nor_task(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(few_digits() / "val"), "--model", str(file)]
    assert "CPU" in error_of([*words, "--device", "cuda"], capsys)
    assert "--task" in error_of([*words, "--task", "imagenet_finetune"], capsys)


def test_a_missing_library_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "maekit[onnx]" in error_of(["export", str(run), "--to", "onnx"], capsys)


def test_a_task_without_an_export_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "exportable", lambda self, input: None)
    assert "--features" in error_of(["export", str(run), "--to", "torch"], capsys)
    monkeypatch.undo()
    robust = ["export", str(run), "--to", "torch", "--task", "imagenet_robustness"]
    assert "evaluates only" in error_of(robust, capsys)
    assert "is of task" in error_of([*robust[:-1], "imagenet_scratch"], capsys)
    assert "--features" in error_of(["export", "mae_vit_smoke", "--to", "torch"], capsys)


@pytest.mark.slow
def test_onnx_of_all_precisions_and_the_file_predicts(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for precision in ("fp32", "fp16", "int8"):
        made = tmp_path / f"{precision}.onnx"
        words = ["export", str(run), "--to", "onnx", "--precision", precision, "--output", str(made), "--limit", "0.2"]
        assert main(words) == 0
        check = json.loads((tmp_path / f"{precision}.check.json").read_text())
        assert check["passed"] and ("worse" in check["metric"]) is (precision != "fp32")
        photos = [str(few_digits() / "val"), "--output", str(tmp_path / f"out-{precision}")]
        assert main(["predict", *photos, "--model", str(made)]) == 0
    assert main(["export", str(run), "--to", "onnx", "--output", str(tmp_path / "no.onnx"), "--limit", "0"]) == 2
    assert (tmp_path / "no.refused.onnx").is_file() and not (tmp_path / "no.onnx").exists()
    capsys.readouterr()
