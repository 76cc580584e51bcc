"""Runs know their data: only runs of the same data are ranked, wherever its folder is."""

import json
from pathlib import Path
from typing import Any

import pytest

from maekit.cli import main
from maekit.paper.fill import fill, unused
from maekit.paper.tables import load_table
from maekit.report.runs.overview import overview_document
from maekit.report.runs.report import run_document
from maekit.report.runs.side_by_side import groups, metrics
from maekit.runs.data import data_key, recorded_data, same_data
from maekit.runs.differences import differences
from maekit.runs.read import Run, read_run
from tests.conftest import few_digits
from tests.helpers_run import tiny
from tests.paper import helpers as helpers_paper
from tests.report.helpers import make_run

DIGITS = {"folder": "/data/digits", "classes": ["0", "1"], "summary": "80 training and 20 validation images"}


def recorded(folder: Path, mark: str, *, data: dict[str, Any] | None = None, images: int = 80, **given: Any) -> Run:
    """A run that recorded its data; `mark` is the fingerprint of its training images."""
    make_run(folder, **given)
    record(folder, mark, {**DIGITS, **(data or {})}, images)
    return read_run(folder)


def record(folder: Path, mark: str, data: dict[str, Any], train: int, val: int = 20) -> None:
    environment = json.loads((folder / "environment.json").read_text())
    splits = {"train": {"images": train, "fingerprint": mark}, "val": {"images": val, "fingerprint": f"{mark}v"}}
    (folder / "environment.json").write_text(json.dumps({**environment, "data": {**data, "splits": splits}}))


def test_a_moved_folder_is_the_same_data(tmp_path: Path) -> None:
    one = recorded(tmp_path / "one", "ab", changed={"data.root": "/data/digits"})
    moved = recorded(tmp_path / "two", "ab", data={"folder": "/new"}, changed={"data.root": "/new"}, top1=80.0)
    assert same_data([one, moved])
    assert metrics([one, moved])[0].best == (0,)
    assert len(groups([one, moved])) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"mark": "cd"},
        {"mark": "ab", "data": {"classes": ["1", "0"]}},
        {"mark": "ab", "data": {"classes": ["0", "1", "2"]}},
    ],
    ids=["listing", "order of classes", "classes"],
)
def test_other_data_is_never_ranked(other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even where its folder has the same name."""
    one, two = recorded(tmp_path / "one", "ab"), recorded(tmp_path / "two", top1=95.0, **other)
    assert not same_data([one, two])
    assert all(metric.best == () for metric in metrics([one, two]))
    assert len(groups([one, two])) == 2
    capsys.readouterr()
    assert main(["compare", str(one.folder), str(two.folder)]) == 0
    text = capsys.readouterr().out
    assert "*" not in text
    assert "the runs are of different data" in text
    assert "set 2" in text and "80 train" in text
    page = overview_document([one, two], "now")
    assert [line.partition(":")[0] for line in page.summary if "the highest top1" in line] == [
        "flowers, data set 1 (digits)",
        "flowers, data set 2 (digits)",
    ]
    assert sum("the highest top1" in line for line in page.summary) == 2


def test_another_root_is_said_to_have_no_effect_only_where_it_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {
        name: recorded(tmp_path / name, mark, changed={"data.root": f"/{name}"})
        for name, mark in (("one", "ab"), ("moved", "ab"), ("other", "cd"))
    }
    found = {}
    for name in ("moved", "other"):
        assert main(["compare", str(tmp_path / "one"), str(tmp_path / name), "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)
    assert "data.root" in found["moved"]["elsewhere"]
    assert found["moved"]["same_data"]
    assert "data.root" not in found["other"]["elsewhere"]
    assert "data.root" in [one["key"] for one in found["other"]["differences"]]
    assert [run["data_set"] for run in found["other"]["runs"]] == [0, 1]
    assert runs["one"].flat_config["data.root"] == "/one"


def test_runs_that_do_not_record_their_data_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, old = recorded(tmp_path / "new", "ab"), read_run(make_run(tmp_path / "old"))
    (older,) = (read_run(make_run(tmp_path / "older", top1=80.0)),)
    assert same_data([old, older])  # the same folder and classes, as far as anybody knows
    assert not same_data([new, old])
    assert main(["compare", str(new.folder), str(old.folder)]) == 0
    assert "does not record its data" in capsys.readouterr().out
    (section,) = (one for one in run_document(old, "now").sections if one.title == "Data")
    assert "does not record its data" in str(section)


@pytest.mark.parametrize("text", ["null", "3", "[]", '{"splits": 3}', '{"splits": {"train": {}}}', '{"folder": "x"}'])
def test_a_damaged_record_is_none(text: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**environment, "data": json.loads(text)}))
    assert recorded_data(read_run(folder)) is None


def test_the_report_has_a_section_on_the_data(tmp_path: Path) -> None:
    page = run_document(recorded(tmp_path / "run", "ab"), "now")
    (section,) = (one for one in page.sections if one.title == "Data")
    for word in ("/data/digits", "80", "20", "2: 0, 1", "ab", "abv", "80 training and 20 validation images"):
        assert word in str(section)


def test_own_data_under_a_smoke_recipe_is_no_toy(tmp_path: Path) -> None:
    mine = {"data.synthetic": "digits", "data.root": "photos"}
    page = run_document(recorded(tmp_path / "run", "ab", recipe="smoke", changed=mine), "now")
    assert not any("toy" in line for line in page.summary)
    assert any("Its recipe, smoke, is a small one" in line for line in page.summary)


def test_a_table_of_the_paper_is_filled_by_its_own_data_only(tmp_path: Path) -> None:
    for name, images in (("real", (1281167, 50000)), ("part", (100, 50000)), ("other", (1281167, 300))):
        folder = helpers_paper.make_run(
            tmp_path / name, "imagenet_finetune", "base", {"top1": 83.6}, weights="mae_pretrain_vit_base.pth"
        )
        classes = [f"n{number}" for number in range(1000)]
        record(folder, name, {**DIGITS, "folder": f"/{name}", "classes": classes}, *images)
    runs = [read_run(folder) for folder in sorted(tmp_path.iterdir())]
    table = load_table("3")
    filled = [group for place in fill(table, runs, "final") for group in place.groups]
    assert {one.run.folder.name for group in filled for one in group.samples} == {"real"}
    reasons = {one.run.folder.name: one.reason for one in unused([table], runs, "final")}
    assert "not the paper's data: /part has 100 train images" in reasons["part"]
    assert "/other has 300 val images" in reasons["other"]


def test_a_real_run_records_what_it_was_trained_on(tmp_path: Path) -> None:
    one = read_run(Path(tiny(tmp_path, trainer__max_steps=1).fit()["folder"]))
    found = recorded_data(one)
    assert found is not None
    assert found.images == {"train": 80, "val": 20}
    assert found.summary.startswith("80 training and 20 validation images of 10 classes")
    assert Path(found.folder) == few_digits()
    two = read_run(Path(tiny(tmp_path, trainer__max_steps=1, run__seed=1).fit()["folder"]))
    assert data_key(one) == data_key(two)


def test_defaults_that_a_checkpoint_carries_are_no_difference_from_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = Path(tiny(tmp_path, trainer__max_steps=1, model__drop_path=0.2).fit()["folder"])
    out = tmp_path / "out"
    assert main(["validate", "--ckpt_path", str(trained), "--data.crop_clip", "true", "--output", str(out)]) == 0
    both = [{key: value for key, _, value in differences(read_run(folder))} for folder in (trained, out)]
    assert both[0]["model.drop_path"] == both[1]["model.drop_path"] == 0.2
    assert both[1].items() - both[0].items() == {("data.crop_clip", True)}
    assert str(trained / "best.ckpt") in json.loads((out / "environment.json").read_text())["checkpoint"]["checkpoint"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ('{"checkpoint": "best.ckpt", "step": 33}', "Of best.ckpt (step 33)."),
        ('{"checkpoint": null, "step": 40}', "Of the last validation: no best.ckpt was kept."),
        ('{"che', "Of the last validation, not of best.ckpt: the run is of an older version."),
        (None, "Of the last validation, not of best.ckpt: the run is of an older version."),
    ],
)
def test_the_classes_of_a_report_say_whose_weights_they_are_of(
    found: str | None, expected: str, tmp_path: Path
) -> None:
    run = recorded(tmp_path / "run", "ab")
    (run.folder / "confusion.json").write_text(json.dumps({"classes": ["a", "b"], "counts": [[1, 0], [0, 1]]}))
    if found is not None:
        (run.folder / "evaluation.json").write_text(found)
    (section,) = (one for one in run_document(run, "now").sections if one.title == "Classes")
    assert expected in str(section.blocks[0])
