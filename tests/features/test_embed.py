"""`maekit embed`: the right numbers, whatever is unreadable and however often it is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maekit.backbone.vit import ViT
from maekit.cli import main
from maekit.data.images.decode import read_image
from maekit.data.images.transforms import EvalTransform
from maekit.features import embedding
from maekit.features.files import listings
from maekit.features.files.row_file import RowFile, header
from maekit.system.files import write_json
from maekit.weights.load.backbone import load_backbone
from tests.features.helpers import digits, pictures, refused, run, weights
from tests.numeric import assert_fp32_model
from tests.weights.helpers import Small, peer, released

pytestmark = pytest.mark.numeric

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def prepared(folder: Path, names: list[str], size: int = 32, crop: float = 0.875) -> Tensor:
    transform = EvalTransform(image_size=size, crop_fraction=crop, mean=MEAN, std=STD)
    return torch.stack([transform(read_image(folder / name)) for name in names])


def names_of(output: Path) -> list[str]:
    return (output / "files.txt").read_text().splitlines()


def contents(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.mark.parametrize(
    ("pooling", "extra"), [("class", []), ("mean", ["--num_workers", "2"]), ("patches", ["--half"])]
)
def test_features_are_those_of_timm(
    pooling: str, extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = pictures(tmp_path / "in"), tmp_path / "out"
    words = ["embed", folder, "--weights", weights(tmp_path), "--output", output, "--pooling", pooling, *extra]
    printed = run(capsys, *words, "--batch_size", 4)
    assert printed.splitlines()[-1].startswith("11 images -> ")
    names = names_of(output)
    assert names == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))

    def pooled(model: Any, images: torch.Tensor) -> torch.Tensor:
        tokens = model.forward_features(images)
        poolings = {"class": tokens[:, 0], "mean": tokens[:, 1:].mean(dim=1), "patches": tokens[:, 1:]}
        chosen: torch.Tensor = poolings[pooling]
        return chosen

    found = np.load(output / "features.npy")
    assert found.dtype == (np.float16 if extra == ["--half"] else np.float32)
    assert_fp32_model(torch.from_numpy(found), peer(pooling="class", classes=0), prepared(folder, names), pooled)
    facts = json.loads((output / "features.json").read_text())
    assert (facts["num_rows"], facts["num_skipped"], facts["num_classes"], facts["complete"]) == (11, 0, 0, True)
    assert sorted(contents(output)) == [".lock", "features.json", "features.npy", "files.txt"]


def test_another_block_size_and_crop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = pictures(tmp_path / "in", 3), tmp_path / "out"
    words = ["--weights", weights(tmp_path), "--block", -2, "--image_size", 48, "--crop_fraction", 1.0]
    run(capsys, "embed", folder, "--output", output, *words)
    vit = load_backbone(weights(tmp_path), image_size=48)

    def tapped(vit: ViT, images: torch.Tensor) -> torch.Tensor:
        tokens, _ = vit.residual_stream(images, 2)
        normed: torch.Tensor = vit.norm(tokens)
        return normed[:, 0]

    images = prepared(folder, names_of(output), 48, 1.0)
    assert_fp32_model(torch.from_numpy(np.load(output / "features.npy")), vit, images, tapped)


def test_the_transform_is_that_of_the_checkpoints_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Small((24, 24))
    transform: dict[str, Any] = {
        "image_size": 24,
        "crop_fraction": 0.5,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.6, 0.7],
    }
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    card = {"input": transform, "image_size": [24, 24]}
    (tmp_path / "run").mkdir()
    torch.save({"state_dict": state, "maekit": card}, tmp_path / "run/best.ckpt")
    folder = pictures(tmp_path / "in", 3)
    printed = run(capsys, "embed", folder, "--weights", tmp_path / "run", "--output", tmp_path / "out")
    assert "has no final norm" in printed
    images = torch.stack([EvalTransform(**transform)(read_image(folder / n)) for n in names_of(tmp_path / "out")])
    backbone = model.eval().backbone
    found = torch.from_numpy(np.load(tmp_path / "out/features.npy"))
    assert "mean of its patch tokens" in printed and "assumed" not in printed
    assert_fp32_model(found, backbone, images, lambda vit, pictures: vit(pictures).tokens[:, 1:].mean(1))
    words = ("embed", folder, "--weights", tmp_path / "run", "--output", tmp_path / "class", "--pooling", "class")
    assert "--pooling mean" in run(capsys, *words)
    found = torch.from_numpy(np.load(tmp_path / "class/features.npy"))
    assert_fp32_model(found, backbone, images, lambda vit, pictures: vit(pictures).tokens[:, 0])


def test_unreadable_images_have_no_row_and_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = digits(tmp_path / "good", "val", 3)
    words = ["--weights", weights(tmp_path), "--batch_size", 1]
    run(capsys, "embed", good, "--output", tmp_path / "a", *words)
    bad = digits(tmp_path / "bad", "val", 3)
    folders = sorted(bad.iterdir())
    (folders[1] / "aa.png").write_bytes(b"")
    (folders[1] / "zz.jpg").write_bytes(next(iter(folders[1].iterdir())).read_bytes()[:100] or b"x")
    (folders[2] / "line\nbreak.jpg").write_bytes(next(folders[0].iterdir()).read_bytes())
    printed = run(capsys, "embed", bad, "--output", tmp_path / "b", *words)
    assert "6 images of 3 classes" in printed
    assert "3 could not be read, see skipped.txt" in printed
    whole, part = contents(tmp_path / "a"), contents(tmp_path / "b")
    for name in ("features.npy", "labels.npy", "files.txt", "classes.txt"):
        assert whole[name] == part[name], name
    assert np.load(tmp_path / "b/labels.npy").tolist() == [0, 0, 1, 1, 2, 2]
    lines = part["skipped.txt"].decode().splitlines()
    assert lines[0] == f"{folders[1].name}/aa.png\tis an empty file"
    assert lines[2].startswith(f"{folders[2].name}/line\\nbreak.jpg\tits name has a line break")


def test_a_split_is_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits(tmp_path / "in", "val", 2)
    digits(tmp_path / "in", "train", 2)
    printed = run(capsys, "embed", tmp_path / "in", "--weights", weights(tmp_path), "--output", tmp_path / "out")
    assert f"for classes embed {tmp_path / 'in/train'} by itself" in printed
    assert not (tmp_path / "out/labels.npy").exists()


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_a_row(self: RowFile, rows: np.ndarray) -> None:
    self.file.write(rows.tobytes()[: rows.nbytes // 2])
    self.file.flush()
    die()


def on_call(number: int, real: Callable[..., Any], instead: Callable[..., Any] = die) -> Callable[..., Any]:
    calls = iter(range(number))
    return lambda *a, **k: real(*a, **k) if next(calls, None) is not None else instead(*a, **k)


MOMENTS: dict[str, Callable[[], Any]] = {
    "first batch": lambda: setattr(RowFile, "append", on_call(0, RowFile.append)),
    "middle of a row": lambda: setattr(RowFile, "append", on_call(2, RowFile.append, half_a_row)),
    "rows not counted": lambda: setattr(embedding, "write_json", on_call(2, write_json)),
    "rows counted": lambda: setattr(RowFile, "append", on_call(2, RowFile.append)),
    "end, not named": lambda: setattr(RowFile, "finish", die),
    "end, no lists": lambda: setattr(embedding, "write_lists", die),
    "end, half the lists": lambda: setattr(listings, "write_lines", on_call(1, listings.write_lines)),
    "end, not complete": lambda: setattr(embedding, "write_json", on_call(6, write_json)),
    "end, notes not removed": lambda: setattr(embedding, "write_json", on_call(6, write_json, last_write)),
}
DONE = {"first batch": 0, "middle of a row": 6, "rows not counted": 3, "rows counted": 6}


def last_write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")
    die()


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    moment: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in")
    (folder / "04.png").write_bytes(b"broken")  # in the second batch
    words = ["embed", folder, "--weights", weights(tmp_path), "--batch_size", 3, "--num_workers", 0, "--output"]
    run(capfd, *words, tmp_path / "whole")
    output = tmp_path / "killed"
    child = os.fork()
    if child == 0:  # as `kill -9` would end the command
        embedding.SAVE_SECONDS = -1
        MOMENTS[moment]()
        run(capfd, *words, output)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    printed = run(capfd, *words, output)
    if moment == "end, notes not removed":
        assert "nothing to do" in printed
    elif done := DONE.get(moment, 11):
        assert f"resumed: {done} of 11 images were done\n" in printed
    else:
        assert "resumed" not in printed
    assert "10 images -> " in printed
    assert contents(output) == contents(tmp_path / "whole")
    assert "nothing to do" in run(capfd, *words, output)


def test_the_command_itself_killed_and_given_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["embed", pictures(tmp_path / "in"), "--weights", weights(tmp_path), "--batch_size", "2", "--output"]
    code = (
        "import os, sys; from maekit.features import embedding as e; from maekit.cli import main; e.SAVE_SECONDS = -1; "
        "save = e._save; e._save = lambda o, p, r: (save(o, p, r), p.done >= 4 and os.kill(os.getpid(), 9)); "
        "main(sys.argv[1:])"
    )
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", code, *map(str, words), out], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "resumed: 4 of 11 images were done" in run(capsys, *words, out)
    run(capsys, *words, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_ctrl_c_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", pictures(tmp_path / "in"), "--weights", weights(tmp_path), "--batch_size", 2, "--output"]
    run(capsys, *words, tmp_path / "whole")

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RowFile, "append", on_call(3, RowFile.append, ctrl_c))
        assert main([str(word) for word in [*words, tmp_path / "out"]]) == 130
    assert "resumed: 6 of 11 images were done" in run(capsys, *words, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_rows_that_were_lost_are_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a power cut the note of progress may be there and the rows not."""
    words = ["embed", pictures(tmp_path / "in"), "--weights", weights(tmp_path), "--output"]
    run(capsys, *words, tmp_path / "whole")
    output = tmp_path / "out"
    output.mkdir()
    facts = json.loads((tmp_path / "whole/features.json").read_text())
    (output / "features.json").write_text(json.dumps({**facts, "complete": False}))
    (output / "progress.json").write_text('{"done": 8, "skipped": []}')
    (output / "features.partial").write_bytes(b"\0" * 300)
    assert "resumed" not in run(capsys, *words, output)
    assert contents(output) == contents(tmp_path / "whole")


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = pictures(tmp_path / "in", 4), tmp_path / "out"
    words = ["embed", folder, "--output", output, "--weights"]
    run(capsys, *words, weights(tmp_path))
    before = contents(output)
    changes = (["--pooling", "mean"], ["--block", 0], ["--image_size", 40], ["--crop_fraction", 1.0], ["--half"])
    for change in changes:
        line = refused(capsys, *words, weights(tmp_path), *change)
        assert f"{output} holds features that were computed otherwise (" in line, change
    assert "transform {" in refused(capsys, *words, weights(tmp_path), "--crop_fraction", 1.0)
    (tmp_path / "same.pth").write_bytes(weights(tmp_path).read_bytes())
    assert "nothing to do" in run(capsys, *words, tmp_path / "same.pth")
    torch.manual_seed(5)
    other = released(tmp_path / "other.pth", Small(pooling="class").backbone.state_dict())
    assert "(weights_hash " in refused(capsys, *words, other)
    (folder / "new.png").write_bytes((folder / "00.png").read_bytes())
    assert "(num_images 4, now 5; listing " in refused(capsys, *words, weights(tmp_path))
    assert contents(output) == before
    (output / "features.json").write_text("{")
    assert "is damaged; remove" in refused(capsys, *words, weights(tmp_path))
    (output / "features.json").unlink()
    assert "holds features.npy but no features.json" in refused(capsys, *words, weights(tmp_path))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"folder": "empty"}, "empty: no images in this folder or below, expected image files"),
        ({"folder": "i"}, "no folder i; did you mean 'in'?"),
        ({"folder": "in/00.png"}, "is a file, expected a folder of images"),
        ({"folder": "bad"}, "none of the 1 images in"),
        ({"--weights": "nowhere.pth"}, "no file and no official weights called nowhere.pth"),
        ({"--weights": "in/00.png"}, "is not a checkpoint but"),
        ({"--block": 3}, "--block: got 3, expected 0 to 2, or -1 (the last) to -3"),
        ({"--image_size": 30}, "multiples of the patch size 8"),
        ({"--image_size": 0}, "--image_size: got '0', expected pixels"),
        ({"--crop_fraction": 1.5}, "--crop_fraction: got 1.5"),
        ({"--batch_size": 0}, "--batch_size: got 0"),
        ({"--num_workers": -1}, "--num_workers: got -1"),
        ({"--device": "cuda:77"}, "--device cuda:77 cannot be used here"),
        ({"--pooling": "max"}, "invalid choice: 'max'"),
        ({"--format": "parquet"}, "`pip install pyarrow`"),
        ({"--format": "parquet", "--pooling": "patches"}, "not --pooling patches"),
        ({"--output": "in/00.png"}, "cannot be written"),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_one_line(
    change: dict[str, object],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    pictures(tmp_path / "in", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.jpg").write_bytes(b"x")
    given = {"folder": "in", "--weights": weights(tmp_path), "--output": "out", **change}
    flags = [word for pair in given.items() if pair[0] != "folder" for word in pair]
    assert expected in refused(capsys, "embed", given["folder"], *flags)
    assert not (tmp_path / "out/features.npy").exists()


def test_numbers_that_are_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in", 2)
    words = ["embed", folder, "--weights", weights(tmp_path), "--output", tmp_path / "out"]
    for factor, flags, expected in (
        (1e6, ["--half"], "too large for float16; leave --half out"),
        (float("nan"), [], "are NaN"),
    ):
        monkeypatch.setattr(ViT, "patch_tokens", lambda _, tokens, by=factor: tokens * by)
        monkeypatch.setattr(ViT, "pool", lambda _, tokens, how, by=factor: tokens[:, 0] * by)
        assert expected in refused(capsys, *words, *flags)
        (tmp_path / "out/features.json").unlink()


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    words = ["embed", pictures(tmp_path / "in", 2), "--weights", weights(tmp_path), "--output", tmp_path / "out"]
    assert "No space left on device" in refused(capsys, *words)


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 1000, 10**9])
def test_the_header_is_numpys_and_as_long_for_any_number_of_rows(rows: int, tmp_path: Path) -> None:
    assert len(header((rows, 48), np.dtype(np.float32))) == len(header((7, 48), np.dtype(np.float32)))
    if rows <= 1000:
        np.save(tmp_path / "a.npy", np.zeros((rows, 48), np.float32))
        assert (tmp_path / "a.npy").read_bytes().startswith(header((rows, 48), np.dtype(np.float32)))


def test_parquet_has_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["embed", digits(tmp_path / "in", "val"), "--weights", weights(tmp_path), "--output"]
    run(capsys, *words, tmp_path / "npy")
    run(capsys, *words, tmp_path / "out", "--format", "parquet")
    table = parquet.read_table(tmp_path / "out/features.parquet").to_pydict()
    assert table["file"] == names_of(tmp_path / "npy")
    assert table["label"] == np.load(tmp_path / "npy/labels.npy").tolist()
    assert table["class"] == [name.partition("/")[0] for name in table["file"]]
    assert np.array_equal(np.array(table["feature"], np.float32), np.load(tmp_path / "npy/features.npy"))
    assert not (tmp_path / "out/features.npy").exists()
    assert "nothing to do" in run(capsys, *words, tmp_path / "out", "--format", "parquet")


def test_a_picture_of_any_name_keeps_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "in", 2)
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    (folder / "a.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))
    run(capsys, "embed", folder, "--weights", weights(tmp_path), "--output", tmp_path / "out")
    assert (tmp_path / "out/files.txt").read_bytes().splitlines() == [b"00.png", b"01.png", b"\xff\xfe.png"]
