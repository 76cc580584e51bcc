"""`maekit predict` and the Python interface: a checkpoint is enough."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maekit
from maekit.cli import main
from maekit.commands.shared.output import refuse_results_among_images
from maekit.data.images.decode import read_image
from maekit.data.images.transforms import EvalTransform
from maekit.drawing.sheet import SIDE
from maekit.errors import UserError
from maekit.runs.read import read_run
from tests.conftest import few_digits
from tests.helpers_run import tiny, weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return Path(tiny(folder, trainer__max_steps=3).fit()["folder"])


def test_predict_writes_names_and_probabilities(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    source = sorted((few_digits() / "val").rglob("*.JPEG"))[:5]
    for number, file in enumerate(source):
        (photos / f"{number}.jpg").write_bytes(file.read_bytes())
    (photos / "broken.jpg").write_bytes(source[0].read_bytes()[:100])
    capsys.readouterr()
    assert main(["predict", "--ckpt_path", str(run), "--images", "photos", "--output", "out", "--batch_size", "2"]) == 0
    printed = capsys.readouterr()
    assert "5 images" in printed.out
    assert "1 could not be read" in printed.out
    assert "broken.jpg" in printed.err
    with (tmp_path / "out/predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [Path(row["file"]).name for row in rows] == [f"{number}.jpg" for number in range(5)]

    session = tiny(tmp_path, model__weights=str(run / "last.ckpt"))
    session.model.load_start(complete=True)
    transform = EvalTransform(**session.data.input_transform())
    images = torch.stack([transform(read_image(file)) for file in source])
    expected = session.model.eval()(images).softmax(-1).detach()
    names = session.model.spec.class_names
    for row, probabilities in zip(rows, expected, strict=True):
        assert row["class_1"] == names[int(probabilities.argmax())]
        assert float(row["probability_1"]) == pytest.approx(float(probabilities.max()), abs=2e-6)
        assert sum(float(row[f"probability_{i}"]) for i in range(1, 6)) <= 1 + 1e-5


def test_images_and_model_are_named_as_one_likes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words, a pattern, a list and a folder; a run's number; the flags of earlier versions: all give the same table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(run.parents[2])
    Path("photos").mkdir()
    for number, file in enumerate(sorted((few_digits() / "val").rglob("*.JPEG"))[:2]):
        Path(f"photos/{number}.jpg").write_bytes(file.read_bytes())
    Path("list.txt").write_text("photos/0.jpg\nphotos/1.jpg\n")
    tables: list[str] = []
    for words in (
        ["photos/0.jpg", "photos/1.jpg", "--model", "0"],
        ["photos/*.jpg", "--model", "smoke/0"],
        ["@list.txt", "--model", str(run)],
        ["list.txt", "--model", str(run / "best.ckpt")],
        ["photos", "--images", "photos", "--model", str(run), "--ckpt_path", str(run)],
        ["--images", "photos", "--ckpt_path", str(run)],
    ):
        assert main(["predict", *words, "--output", f"out{len(tables)}", "--top", "3"]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        _, timing, last = printed.out.splitlines()
        assert last == f"2 images -> out{len(tables)}"
        parts = re.fullmatch(
            r"time    ([\d.]+) ms an image: reading ([\d.]+), model ([\d.]+), writing ([\d.]+)", timing
        )
        assert parts is not None
        whole, *each = map(float, parts.groups())
        assert whole == pytest.approx(sum(each), abs=0.21)
        tables.append((tmp_path / f"out{len(tables)}/predictions.csv").read_text())
    assert len(set(tables)) == 1 and tables[0].count("class_") == 3


def test_the_tables_and_sheets_are_of_the_images_that_could_be_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = next((few_digits() / "val").rglob("*.JPEG")).read_bytes()
    for name, content in (("a/x.jpg", good), ("b/x.jpg", good), ("a/empty.png", b""), ("b/cut.jpg", good[:20])):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert main(["predict", "photos", "--model", str(run)]) == 0
    held = json.loads(Path("predictions/predictions.json").read_text())
    assert [one["file"] for one in held["images"]] == ["photos/a/x.jpg", "photos/b/x.jpg"]
    assert held["images"][0]["classes"] == held["images"][1]["classes"]
    skipped = [line.split("\t")[0] for line in Path("predictions/skipped.txt").read_text().splitlines()]
    assert skipped == ["photos/a/empty.png", "photos/b/cut.jpg"]
    with Image.open("predictions/contact_sheet.png") as sheet:
        assert 2 * SIDE < sheet.width < 3 * SIDE


@pytest.mark.parametrize("command", ["predict", "validate", "embed", "attention", "reconstruct"])
def test_two_models_are_refused_and_one_said_twice_is_not(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = "--ckpt_path" if command in ("predict", "validate") else "--weights"
    words = [command, *(["--output", "out"] if command == "embed" else []), *(["nothere"] * (command != "validate"))]
    assert main([*words, "--model", "x.ckpt", other, "y.ckpt"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "got 'x.ckpt' and 'y.ckpt'" in line
    assert main([*words, "--model", "x.ckpt", other, "x.ckpt"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "got 'x.ckpt'" not in line and ("no checkpoint x.ckpt" in line or "nothere" in line)


def test_a_second_predict_replaces_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [str(file) for file in sorted((few_digits() / "val").rglob("*.JPEG"))[:2]]
    (tmp_path / "predictions3").mkdir()  # somebody else's
    for image, folder in zip(images, ("predictions", "predictions2"), strict=True):
        assert main(["predict", "--ckpt_path", str(run), "--images", image]) == 0
        assert image in (tmp_path / folder / "predictions.csv").read_text()
    assert main(["predict", "--ckpt_path", str(run), "--images", images[0]]) == 0
    assert (tmp_path / "predictions4/predictions.csv").is_file()
    assert not list((tmp_path / "predictions3").iterdir())
    step = json.loads((tmp_path / "predictions/predicted_by.json").read_text())["step"]
    assert f"best.ckpt (step {step})" in capsys.readouterr().out


def test_the_results_of_two_models_never_mix(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, output = str(next((few_digits() / "val").rglob("*.JPEG"))), tmp_path / "out"
    words = ["predict", "--images", image, "--output", str(output), "--ckpt_path"]
    assert main([*words, str(run)]) == 0
    before = (output / "predictions.csv").read_bytes()
    assert main([*words, str(run / "best.ckpt")]) == 0  # the same
    assert main([*words, str(run / "last.ckpt")]) == 2
    assert "best.ckpt (step" in capsys.readouterr().err
    (output / "predicted_by.json").unlink()
    assert main([*words, str(run)]) == 2
    assert "not recorded" in capsys.readouterr().err
    assert (output / "predictions.csv").read_bytes() == before


def test_predict_needs_no_lightning(run: Path, tmp_path: Path) -> None:
    image = next((few_digits() / "val").rglob("*.JPEG"))
    code = (
        "import sys; from maekit.cli import main; status = main(sys.argv[1:]); "
        "sys.exit(status or 'lightning' in sys.modules)"
    )
    words = ["predict", "--ckpt_path", str(run / "best.ckpt"), "--images", str(image), "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--images", "nowhere"], "no image or folder nowhere"),
        (["--images", "empty"], "no images in this folder"),
        (["--images", "empty", "--batch_size", "0"], "--batch_size"),
        (["--images", "one.png", "--device", "cuda:9"], "cuda:9 cannot be used"),
        (["--images", "one.png", "--task", "imagenet_finetun"], "did you mean"),
        (["one.png", "--task", "ade20k_upernet"], "--task ade20k_upernet: its model has no setting"),
        (["one.png", "--task", "imagenet_robustness"], "--task imagenet_robustness: its model has no setting"),
        (["one.png", "--images", "two.png"], "got images twice: one.png and --images two.png"),
        ([], "IMAGES are required"),
        (["http://a.b/one.png"], "download it first"),
        (["*.gif"], "*.gif: matches nothing"),
        (["@list"], "no such file, expected a list"),
        (["one.png", "--top", "0"], "--top: got 0"),
        (["one.png", "--score", "1.01"], "--score: got 1.01"),
        (["one.png", "--output", "one.png"], "--output one.png: is a file"),
        (["one.png", "--weights", "x"], "use --model"),
    ],
)
def test_predict_refuses_in_one_line(
    run: Path,
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("one.png")
    capsys.readouterr()
    assert main(["predict", "--ckpt_path", str(run), *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]


def test_crops_of_classes_are_refused_and_leave_no_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("one.png")
    assert main(["predict", "one.png", "--model", str(run), "--crops"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--crops: got it for a model of classes" in line
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]


@pytest.mark.parametrize(
    ("output", "where"),
    [
        (".", "--output .: is the folder of the images, where the next run would take"),
        ("photos/out", "--output photos/out: lies in the images' folder photos, where the next run would take"),
        ("link/deep/out", "--output link/deep/out: lies in the images' folder photos, where the next run would take"),
    ],
)
def test_images_are_not_written_among_the_images(
    run: Path,
    output: str,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tables alone may lie anywhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("photos/one.png")
    images = "." if output == "." else "photos"
    words = ["predict", "--ckpt_path", str(run), "--images", images, "--output", output]
    assert main([*words, "--tables_only"]) == 0
    assert (tmp_path / output / "predictions.csv").is_file()
    assert not list((tmp_path / output).glob("*sheet*"))
    capsys.readouterr()
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert where in lines[0]
    assert f"choose a folder outside, such as {(tmp_path / images).parent / 'predictions'}" in lines[0]


def test_results_beside_one_image_are_no_images_of_the_next_run(tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image)
    refuse_results_among_images(image, tmp_path / "out")
    refuse_results_among_images(tmp_path, tmp_path.with_name(f"{tmp_path.name}_out"))


def test_a_weights_file_is_no_checkpoint_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
    assert main(["predict", "--ckpt_path", str(tmp_path / "w.pth"), "--images", str(few_digits())]) == 2
    assert "no checkpoint of a maekit run" in capsys.readouterr().err


def test_a_backbone_alone_gives_features_at_any_size(run: Path) -> None:
    backbone = maekit.load_backbone(run / "best.ckpt", image_size=(32, 48))
    assert not backbone.training
    features = backbone.features(torch.randn(2, 3, 32, 48), blocks=[0, 2])
    assert features.class_token is not None
    assert features.class_token.shape == (2, 48)
    assert [tuple(each.shape) for each in features.maps] == [(2, 48, 4, 6)] * 2
    saved = weights(run / "best.ckpt")
    for name, tensor in backbone.state_dict().items():
        if name != "pos_embed":
            torch.testing.assert_close(tensor, saved[f"model.backbone.{name}"], rtol=0, atol=0)
    with pytest.raises(UserError, match="no file"):
        maekit.load_backbone("nowhere.pth")


def test_validate_from_python_equals_the_runs_own_number(run: Path, tmp_path: Path) -> None:
    from maekit.runs.rows import text_rows

    found = tiny(tmp_path).validate(run / "last.ckpt")
    assert found == {key: float(text_rows(run / "val.csv")[-1][key]) for key in ("top1", "top5", "loss")}
    again = tiny(tmp_path, model__weights=str(run / "last.ckpt")).validate()
    assert again == found


def test_an_evaluation_says_of_itself_what_a_run_does(run: Path, tmp_path: Path) -> None:
    assert main(["validate", "--ckpt_path", str(run), "--data.num_workers=0", "--output", str(tmp_path / "out")]) == 0
    found = read_run(tmp_path / "out")
    assert (found.status, found.task, found.recipe, found.problems) == ("validated", "imagenet_finetune", "smoke", ())
    assert found.val.keys() == {"top1", "top5", "loss"}
    assert found.flat_config["model.backbone"] == "vit_test_patch8"
