"""Boxes alone and cascades on the command line: trained, resumed bit for bit, measured, predicted; and mistakes."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from maekit.base.checkpoint_card import read_card
from maekit.cli import main
from tests.detection.helpers import CASCADE, SMALL, TRAIN, draw_picture, own_data
from tests.helpers_run import error_line


def flags_of(folder: Path, detector: str) -> list[str]:
    """The flags of a small run in `folder`; of boxes alone the annotations have no shapes."""
    data = own_data(folder / "data")
    for key in ("train_json", "val_json") if "boxes" in detector else ():
        path = folder / "data" / TRAIN[key]
        content = json.loads(path.read_text())
        content["annotations"] = [note | {"segmentation": []} for note in content["annotations"]]
        path.write_text(json.dumps(content))
    flags = ["--task", "coco_maskrcnn", "--recipe", "base", *SMALL, *data, "--data.device_batch_size=1"]
    return [*flags, *(CASCADE if "cascade" in detector else []), f"--run.folder={folder / 'runs'}"]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))


def assert_resumes(flags: list[str], run: Path, folder: Path) -> None:
    """Two steps and two more are the four of `run`."""
    here = [*flags, f"--run.folder={folder}"]
    assert main(["fit", *here, "--trainer.max_steps=2"]) == 0
    assert main(["fit", *here, "--trainer.max_steps=4", "--ckpt_path=last", "--run.extend=true"]) == 0
    again = folder / "coco_maskrcnn/base/0"
    assert [row["loss"] for row in rows(again / "train.csv")] == [row["loss"] for row in rows(run / "train.csv")]
    one, other = (torch.load(path / "last.ckpt", weights_only=True)["state_dict"] for path in (run, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert (again / "coco_results.json").read_text() == (run / "coco_results.json").read_text()


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of boxes alone, which follows from its data, and its flags."""
    folder = tmp_path_factory.mktemp("boxes")
    flags = flags_of(folder, "boxes")
    assert main(["fit", *flags, "--trainer.max_steps=4"]) == 0
    return folder / "runs/coco_maskrcnn/base/0", flags


def test_a_run_of_boxes_alone_has_no_masks_anywhere(boxes: tuple[Path, list[str]], capsys: Any) -> None:
    run, _ = boxes
    assert "masks: false" in (run / "config.yaml").read_text()
    assert read_card(run / "last.ckpt").spec.masks is False
    for name in ("train.csv", "val.csv", "val_table.txt", "per_class.json", "coco_results.json"):
        assert "segmentation" not in (run / name).read_text(), name
        assert "mask" not in (run / name).read_text(), name
    assert not [name for name in torch.load(run / "last.ckpt", weights_only=True)["state_dict"] if "mask_head" in name]
    assert (run / "pictures/step_0000004.png").stat().st_size > 1000
    last = rows(run / "val.csv")[-1]
    assert float(last["box_AR100"]) > 0
    assert main(["validate", "--ckpt_path", str(run / "last.ckpt"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(values) == 12
    assert values["box_AP"] == pytest.approx(float(last["box_AP"]))


def test_a_stopped_run_of_boxes_goes_on_bit_for_bit(boxes: tuple[Path, list[str]], tmp_path: Path) -> None:
    assert_resumes(boxes[1], boxes[0], tmp_path)


def test_predictions_of_boxes_have_no_shapes(boxes: tuple[Path, list[str]], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    draw_picture((60, 50), 1).save(tmp_path / "photos/a.png")
    out = tmp_path / "out"
    assert (
        main(["predict", "--ckpt_path", str(boxes[0]), "--images", str(tmp_path / "photos"), "--output", str(out)]) == 0
    )
    found = json.loads((out / "coco_results.json").read_text())
    assert {tuple(sorted(note)) for note in found} == {("bbox", "category_id", "image_id", "score")}
    with Image.open(out / "a.png") as picture:
        assert min(picture.size) > 40


def test_masks_that_data_or_checkpoint_lack_are_one_line(
    boxes: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, flags = boxes
    line = error_line(capsys, "fit", *flags, "--data.masks=true")
    assert "have a box only, and data.masks is true; give --data.masks false" in line
    shaped = own_data(tmp_path / "shapes")
    line = error_line(capsys, "validate", "--ckpt_path", str(run / "last.ckpt"), *shaped, "--data.masks=true")
    assert "the data has objects with boxes and masks (data.masks true), expected boxes alone as" in line
    assert "give --data.masks false" in line
    assert main(["validate", "--ckpt_path", str(run / "last.ckpt"), *shaped]) == 0
    line = error_line(capsys, "validate", *flags, *CASCADE, f"--model.weights={run / 'best.ckpt'}")
    assert "it is of one stage (no cascade), expected a cascade of 3 stages" in line


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["cascade", "cascade of boxes"])
def test_a_stopped_cascade_goes_on_bit_for_bit(detector: str, tmp_path: Path) -> None:
    flags = flags_of(tmp_path, detector)
    assert main(["fit", *flags, "--trainer.max_steps=4"]) == 0
    run = tmp_path / "runs/coco_maskrcnn/base/0"
    assert_resumes(flags, run, tmp_path / "again")
