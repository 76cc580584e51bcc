"""What a run records of its data: counts and sizes as they are on disk, a sheet of each family, and the same losses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maekit
from maekit.training import data_facts
from maekit.training.callbacks.record import Record
from maekit.training.data_facts import DataFacts
from tests.helpers_families import few_labelled, few_objects, few_plain
from tests.helpers_run import tiny


def facts_of(run: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "data.json").read_text())
    return found


def test_a_run_with_them_is_the_run_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses bit for bit, with every augmentation on; the counts are those of the folders."""
    options: dict[str, Any] = {"trainer__max_steps": 3, "trainer__log_every_n_steps": 1, "data__horizontal_flip": 0.5}
    session: Any = tiny(tmp_path / "with", **options)
    run = Path(session.fit()["folder"])
    with monkeypatch.context() as without:
        without.setattr(DataFacts, "on_train_batch_end", lambda *_: None)
        other = Path(tiny(tmp_path / "without", **options).fit()["folder"])
    assert not (other / "data.json").exists() and not (other / "samples.png").exists()
    rows = [[line.split(",")[1:] for line in (one / "train.csv").read_text().splitlines()] for one in (run, other)]
    columns = (run / "train.csv").read_text().splitlines()[0].split(",")
    loss = columns.index("loss") - 1
    assert [row[loss] for row in rows[0]] == [row[loss] for row in rows[1]] and len(rows[0]) == 4
    found, root = facts_of(run), session.data.data_root()
    assert found["folder"] == str(root) and found["images"] == {"train": 80, "val": 20}
    for split in ("train", "val"):
        counts = [len(list(folder.iterdir())) for folder in sorted((root / split).iterdir())]
        assert found["balance"][split] == counts and len(counts) == len(found["classes"]) == 10
    assert found["sizes"] == {"read": 80, "median": [32, 32], "smallest": [32, 32], "largest": [32, 32]}
    assert found["in_both_splits"] == {"compared": [80, 20], "count": 0, "first": []}
    one, other = (next(root.glob(f"{split}/*/*")) for split in ("train", "val"))
    before = other.read_bytes()
    other.write_bytes(one.read_bytes())
    copied = data_facts.shared_files(session.data)
    other.write_bytes(before)  # other tests use this folder too
    assert copied["count"] == 1
    assert copied["first"] == [str(one.relative_to(root)), str(other.relative_to(root))]


def test_a_fault_is_one_line_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no room\nat all")

    left_out: list[bool] = []
    monkeypatch.setattr(data_facts, "facts", broken)
    monkeypatch.setattr(Record, "leave_out", lambda _: left_out.append(True))
    assert tiny(tmp_path, trainer__max_steps=1).fit()["status"] == "finished"
    lines = [line for line in capsys.readouterr().out.splitlines() if "no room" in line]
    assert lines == ["no sheet of training images: no room; the run goes on"]
    assert left_out == [True], "no training time"


def test_sizes_are_those_of_the_files_that_can_be_read(tmp_path: Path) -> None:
    class Listed:
        def __len__(self) -> int:
            return 4

        def path_of(self, index: int) -> str:
            return str(tmp_path / f"{index}.png")

    class Data:
        def train_dataset(self, seed: int) -> Listed:
            return Listed()

    for index, size in enumerate([(20, 10), (100, 50), (30, 40)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    data: Any = Data()
    found = data_facts.image_sizes(data)
    assert found == {"read": 3, "median": [30, 40], "smallest": [20, 10], "largest": [100, 50]}
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(b"no picture")
    assert data_facts.image_sizes(data) == {}


def distorted(root: Path) -> dict[str, Any]:
    """Label maps, with an augmentation that nearly every seed draws otherwise."""
    return {"data.root": few_labelled(root)["data.root"], "data.photometric": "true"}


@pytest.mark.parametrize(
    ("task", "some", "labelled"),
    [("ade20k_linear", distorted, True), ("coco_maskrcnn", few_objects, True), ("mae_pretrain", few_plain, False)],
)
def test_a_sheet_shows_the_training_images_of_each_family(
    task: str, some: Callable[[Path], dict[str, Any]], labelled: bool, tmp_path: Path
) -> None:
    """The same for the same seed; classes are counted where there are any."""
    small = {"model.backbone": "vit_test_patch8", "model.weights": "none", "data.num_workers": "0"}
    session = maekit.build(task, "smoke", small | some(tmp_path / "data"))
    shown, data = session.model.shown(), session.data
    sheets = [shown.training_picture(data, seed) for seed in (0, 0, 1)]
    first, again, other = (np.asarray(sheet) for sheet in sheets)
    assert first.ndim == 3 and first.shape[1] > 300 and np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other), "augmented by the seed"
    found = data_facts.facts(data, session.model.spec.class_names)
    assert ("balance" in found) == labelled
    if labelled:
        assert len(found["balance"]["train"]) == len(found["classes"])
        assert sum(found["balance"]["train"]) > 0 and sum(found["balance"]["val"]) > 0
