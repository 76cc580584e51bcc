"""The detector on the command line: own categories, two batches a step, resuming, measuring, predicting, mistakes."""

import csv
import json
import math
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maekit.cli import main
from tests.detection.helpers import CATEGORIES, SMALL, TRAIN, draw_picture, own_data
from tests.helpers_run import error_line


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of four steps of two batches each, and its flags."""
    folder = tmp_path_factory.mktemp("own")
    flags = ["--task", "coco_maskrcnn", "--recipe", "base", *SMALL, *own_data(folder / "data")]
    flags += ["--data.device_batch_size=1", f"--run.folder={folder / 'runs'}"]
    assert main(["fit", *flags, "--trainer.max_steps=4"]) == 0
    return folder / "runs/coco_maskrcnn/base/0", flags


def test_a_run_keeps_what_it_found(trained: tuple[Path, list[str]]) -> None:
    run, _ = trained
    assert (run / "classes.txt").read_text() == "ring\nbar\n"
    table = (run / "val_table.txt").read_text().splitlines()
    assert {line.split()[1] for line in table[1:3]} == {"ring", "bar"}
    assert (run / "pictures/step_0000004.png").stat().st_size > 1000
    truth = COCO(str(run.parents[3] / "data/notes/two.json"))
    found = truth.loadRes(str(run / "coco_results.json"))
    last = rows(run / "val.csv")[-1]
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        peer = COCOeval(truth, found, kind)
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
        for number, key in ((0, "AP"), (1, "AP50"), (8, "AR100")):
            assert float(last[f"{name}_{key}"]) == pytest.approx(100 * peer.stats[number], abs=1e-4)
    assert float(last["box_AR100"]) > 0


def test_a_validation_finds_the_same_and_prints_it(
    trained: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained
    last = rows(run / "val.csv")[-1]
    assert main(["validate", "--ckpt_path", str(run / "last.ckpt"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(values) == 24
    logged = {key: float(last[key]) for key in values}  # nan in the table is null in JSON
    assert values == {key: None if math.isnan(value) else pytest.approx(value) for key, value in logged.items()}
    assert main(["validate", "--ckpt_path", str(run / "last.ckpt"), "--data.device_batch_size=2"]) == 0
    *_, box, mask, interval, line = (out := capsys.readouterr().out).splitlines()
    assert f"weights {run / 'last.ckpt'} (step " in out
    assert "; evaluation ignores 3 of 11 annotations that are crowds (iscrowd 1)" in out
    assert (box.split()[0], mask.split()[0]) == ("box", "mask")
    assert interval.startswith("box_AP from ")
    assert interval.endswith("95 % interval over 5 images (1,000 resamples)")
    assert line.split()[::2] == ["box_AP", "box_AP50", "mask_AP", "mask_AP50"]


def test_a_stopped_run_goes_on_bit_for_bit(trained: tuple[Path, list[str]], tmp_path: Path, capsys: Any) -> None:
    """Two steps of two accumulated batches, then two more, are the four; and the line of a validation is short."""
    run, flags = trained
    here = [*flags, f"--run.folder={tmp_path}"]
    assert main(["fit", *here, "--trainer.max_steps=2"]) == 0
    assert main(["fit", *here, "--trainer.max_steps=4", "--ckpt_path=last", "--run.extend=true"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if " val: " in line]
    assert lines[-1].split(" val: ")[0] == "step 4/4"
    assert lines[-1].split(" val: ")[1].split()[::2] == ["box_AP", "box_AP50", "mask_AP", "mask_AP50"]
    again = tmp_path / "coco_maskrcnn/base/0"
    assert [row["loss"] for row in rows(again / "train.csv")] == [row["loss"] for row in rows(run / "train.csv")]
    states = [torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (run, again)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert (again / "coco_results.json").read_text() == (run / "coco_results.json").read_text()


def test_predictions_of_odd_images(trained: tuple[Path, list[str]], tmp_path: Path, capsys: Any) -> None:
    run, _ = trained
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (5000, 1), (200, 30, 30)).save(folder / "thin.png")
    draw_picture((60, 50), 1).convert("L").save(folder / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a camera held upright
    draw_picture((60, 50), 1).save(folder / "phone.jpg", exif=turned)
    (folder / "broken.jpg").write_bytes(b"\\xff\\xd8 no picture")
    out = tmp_path / "out"
    assert main(["predict", "--ckpt_path", str(run), "--images", str(folder), "--output", str(out)]) == 0
    printed = capsys.readouterr()
    assert "broken.jpg" in printed.err
    assert printed.out.splitlines()[-1] == f"3 images -> {out}; 1 could not be read, see {out / 'skipped.txt'}"
    images = json.loads((out / "images.json").read_text())
    assert {Path(image["file_name"]).name: (image["width"], image["height"]) for image in images["images"]} == {
        "grey.png": (60, 50), "phone.jpg": (50, 60), "thin.png": (5000, 1)
    }  # fmt: skip
    assert images["categories"] == [{"id": ident, "name": name} for ident, name in CATEGORIES.items()]
    found = COCO(str(out / "images.json")).loadRes(str(out / "coco_results.json"))
    assert {note["image_id"] for note in found.anns.values()} == {1, 2, 3}
    for name in ("grey", "phone", "thin"):
        assert (out / f"{name}.png").stat().st_size > 100


# mistakes


class Runs:
    """Unpickling it creates a file: the proof that something was executed."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_pickle_is_one_line_and_runs_nothing(
    trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"x": Runs(tmp_path / "executed")}, "__author__": "somebody"}))
    for command in ("fit", "validate"):
        line = error_line(capsys, command, *trained[1], f"--model.weights={path}")
        assert "it was not executed" in line
        assert not (tmp_path / "executed").exists()


def test_data_of_other_categories_are_not_measured(
    trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither with another id, nor with the same id for something else."""
    run, _ = trained
    changes = ('"id": 9', '"id": 8', "8"), ('"name": "bar"', '"name": "rod"', "rod")
    for old, new, expected in changes:
        for key, name in (("train_json", "a.json"), ("val_json", "b.json")):
            text = (run.parents[3] / "data" / TRAIN[key]).read_text().replace(old, new)
            if expected == "8":
                text = text.replace('"category_id": 9', '"category_id": 8')
            (tmp_path / name).write_text(text)
        flags = [f"--data.train_json={tmp_path / 'a.json'}", f"--data.val_json={tmp_path / 'b.json'}"]
        line = error_line(capsys, "validate", "--ckpt_path", str(run / "last.ckpt"), *flags)
        assert f"{expected}" in line
        assert "--model.new_head true" in line


def test_without_detectron2_its_engine_is_one_line(
    trained: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    line = error_line(capsys, "fit", *trained[1], "--model.detector=detectron2")
    assert "model.detector: got detectron2, expected it installed" in line
