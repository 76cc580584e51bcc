"""What a report says of a run and of a folder of runs, whole and cut off at any place."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from maekit.cli import main
from maekit.report.document import Document, Facts, HeatMap, LineChart, Pictures, Table, Text
from maekit.report.runs.overview import overview_document
from maekit.report.runs.report import run_document
from maekit.runs.find import find_runs
from maekit.runs.read import read_run
from tests.paper.helpers import make_run as paper_run
from tests.report.helpers import STEPS, add_parts, add_targets, blocks, make_run, table, write_csv


def report_of(folder: Path) -> Document:
    return run_document(read_run(folder), "now")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A finished run with everything a run can leave."""
    folder = make_run(tmp_path / "runs/flowers/base/0", changed={"optim.layer_decay": 0.65})
    add_parts(folder)
    return folder


def test_result_and_summary(whole: Path) -> None:
    document = report_of(whole)
    assert document.title == "flowers, base: run 0"
    assert list(document.summary) == [
        "top1 90; best 90.5 at step 30. Finished after 40 steps.",
        "It differs from its recipe in 1 key: optim.layer_decay 0.65 (recipe: 0.75).",
        "It took 2.0 h, 123.4 images/s, 1.5 GiB.",
    ]
    assert table(document, "metrics").rows == (("top1", 90.0, 90.5, 30), ("loss", 0.075, None, None))


def test_differences_stand_before_the_whole_configuration(whole: Path) -> None:
    document = report_of(whole)
    titles = [section.title for section in document.sections]
    assert titles.index("Configuration") < titles.index("The whole configuration") == len(titles) - 1
    [differences] = blocks(document, Table, "Configuration")
    assert differences.rows == (("optim.layer_decay", "0.75", "0.65"),)
    [everything] = blocks(document, Table, "The whole configuration")
    found = {row[0]: row[1:] for row in everything.rows}
    assert found["optim.layer_decay"] == ("0.65", "flag")
    assert found["optim.lr"] == ("0.001", "recipe")
    assert found["data.synthetic"] == ("null", "recipe")
    assert found["data.num_workers"] == ("2", "default")


def test_curves_hold_every_row_of_the_tables(whole: Path) -> None:
    charts = {chart.name: chart for chart in blocks(report_of(whole), LineChart)}
    assert list(charts) == ["loss", "val_top1", "lr", "images_per_second"]
    training, validation = charts["loss"].series
    assert training.points == tuple((s, 2 / s) for s in STEPS)
    assert validation.points == tuple((s, 3 / s) for s in STEPS)
    assert charts["val_top1"].series[0].points == tuple((s, 50.0 + s) for s in STEPS)
    assert charts["images_per_second"].series[0].points == tuple((s, 100.0 + s) for s in STEPS)


def test_layers_are_heat_maps_with_the_head_on_top(whole: Path) -> None:
    maps = {chart.name: chart for chart in blocks(report_of(whole), HeatMap, "Layers")}
    norm = maps["layers_grad_norm"]
    assert norm.y_values == ("3 (head)", "2", "1", "0 (embeddings)")
    assert list(norm.x_values) == list(STEPS)
    assert norm.cells == tuple(tuple(float(layer + s) for s in STEPS) for layer in (3, 2, 1, 0))
    assert maps["layers_lr"].cells[3] == (None,) * 4  # a learning rate of 0 has no place on a log scale
    assert maps["layers_update_ratio"].log


def test_many_steps_of_layers_are_thinned_with_both_ends(whole: Path) -> None:
    rows = [{"step": s, "layer": 1, "lr": 1.0, "grad_norm": 1.0 * s, "update_ratio": 1.0} for s in range(1, 501)]
    write_csv(whole / "layers.csv", rows)
    norm = next(chart for chart in blocks(report_of(whole), HeatMap, "Layers") if chart.name == "layers_grad_norm")
    assert len(norm.x_values) == 48
    assert (norm.x_values[0], norm.x_values[-1]) == (1, 500)
    assert norm.cells[0] == tuple(float(step) for step in norm.x_values)
    assert "48 of 500 recorded steps" in norm.caption


def test_few_classes_are_a_heat_map_and_many_are_pairs(whole: Path) -> None:
    [confusion] = blocks(report_of(whole), HeatMap, "Classes")
    assert confusion.cells == ((100.0, 1.0, 2.0), (3.0, 100.0, 5.0), (6.0, None, 100.0))
    assert confusion.caption.startswith("300 of 317 ")
    shutil.rmtree(whole / "examples")
    shutil.rmtree(whole / "pictures")
    add_parts(whole, num_classes=31)
    document = report_of(whole)
    assert not blocks(document, HeatMap, "Classes")
    pairs = table(document, "confused").rows
    assert len(pairs) == 30
    assert all(true != said for true, said, _ in pairs)
    assert {count for *_, count in pairs} == {6}
    (whole / "confusion.json").write_text(
        json.dumps(
            {
                "classes": [f"c{at}" for at in range(200)],
                "pairs": [{"true": 7, "predicted": 7, "count": 99}, {"true": 9, "predicted": 150, "count": 4}],
            }
        )
    )
    assert table(report_of(whole), "confused").rows == (("c9", "c150", 4),)


def test_classes_without_a_value_come_last(whole: Path) -> None:
    assert table(report_of(whole), "classes").rows == (
        ("class_2", 88.0, 102),
        ("class_1", 89.0, 101),
        ("class_0", None, 100),
    )


def test_labels_stand_with_the_weakest_first_instead_of_the_classes(whole: Path) -> None:
    add_targets(whole)
    labels = table(report_of(whole), "labels")
    assert [(row[0], row[1], row[-1]) for row in labels.rows] == [("dog", 0.4, 3), ("cat", 0.9, 30), ("owl", None, 0)]
    assert "threshold 0.37, chosen on 50 images and measured on the 51 others" in labels.note
    assert not [one for one in blocks(report_of(whole), Table, "Classes") if one.name == "classes"]


def test_values_are_plotted_over_the_true_ones_with_a_diagonal(whole: Path) -> None:
    add_targets(whole)
    document = report_of(whole)
    assert table(document, "values").rows[0] == ("age (years)", 0.5, 0.5, None, 35.0, 20.0)
    age, mass = blocks(document, LineChart, "Values")
    diagonal, images = age.series
    assert diagonal.points == ((0.0, 0.0), (70.4, 70.4)) and not images.points
    assert len(images.dots) == 500 and all(predicted == true + 0.5 for true, predicted in images.dots)
    assert age.x_label == "true age (years)" and "500 of 900" in age.caption
    assert mass.series[1].dots[0] == (1.0, 2.0)


def test_the_reliability_and_an_ordered_confusion(whole: Path) -> None:
    add_targets(whole)
    content = json.loads((whole / "confusion.json").read_text())
    (whole / "confusion.json").write_text(json.dumps({**content, "ordered": True}))
    document = report_of(whole)
    [chart] = blocks(document, LineChart, "Classes")
    assert chart.series[1].points == ((0.75, 0.6),) and "0.15" in chart.caption
    assert table(document, "reliability_bins").rows[0] == (0.0, 0.5, 0, None, None)
    [confusion] = blocks(document, HeatMap, "Classes")
    assert confusion.caption.startswith("300 of 317 ") and "309 at most one grade off" in confusion.caption


@pytest.mark.parametrize("name", ["labels.json", "values.json", "reliability.json"])
def test_a_damaged_result_of_a_target_is_said(whole: Path, name: str) -> None:
    add_targets(whole)
    (whole / name).write_text('{"labels": [{}], "threshold": 0.5, "values": 3, "bins": [1]}')
    missing = blocks(report_of(whole), Text, "What is missing")[0].lines
    assert any(name[1:] in line for line in missing)


def test_data_without_classes_miss_none(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "0", task="mae_pretrain")
    about = json.loads((folder / "environment.json").read_text())
    split = {"images": 8, "fingerprint": "ab"}
    about["data"] = {"folder": "photos", "classes": ["image"], "splits": {"train": split, "val": split}}
    (folder / "environment.json").write_text(json.dumps(about))
    document = report_of(folder)
    assert "classes" not in dict(blocks(document, Facts, "Data")[0].pairs)
    assert not any("confusion.json" in line for line in blocks(document, Text, "What is missing")[0].lines)


def test_a_kept_step_of_an_earlier_session_is_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "0")
    (folder / "nan_step.pt").write_bytes(b"")
    assert any("nan_step.pt is of an earlier session" in line for line in report_of(folder).summary)


def test_examples_and_the_newest_picture(whole: Path) -> None:
    found = blocks(report_of(whole), Pictures)
    assert [one.title for one in found] == ["Best examples", "Worst examples", "Fixed validation images"]
    assert [one.pictures[0].path.name for one in found] == ["best_0.jpg", "worst_0.jpg", "step_0000040.png"]
    assert found[1].pictures[0].caption == "true 3, worst; loss 9.5"


def test_cost_and_environment(whole: Path) -> None:
    document = report_of(whole)
    cost = dict(blocks(document, Facts, "Cost")[0].pairs)
    assert cost["hours"] == "2"
    assert cost["waiting for data"] == "31% of the training time"
    assert "--data.num_workers" in blocks(document, Text, "Cost")[0].lines[0]
    assert cost["training images"] == "2,560 (64 a step)"
    assert cost["sessions"] == "2 (how often it was started)"
    said = dict(blocks(document, Facts, "Environment")[0].pairs)
    assert said["git"] == "abc123, 1 file changed"
    assert said["torch"] == "2.15.0"
    assert "wandb" not in said


@pytest.mark.parametrize(
    "name", ["config.yaml", "environment.json", "metrics.json", "train.csv", "val.csv", "layers.csv"]
)
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_a_damaged_file_costs_its_own_part_alone(whole: Path, name: str, damage: str) -> None:
    file = whole / name
    before = {section.title for section in report_of(whole).sections}
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    else:
        file.write_bytes(b"\x00\xff\xfe{[" * 5)
    document = report_of(whole)
    titles = {section.title for section in document.sections}
    assert before - titles <= {"Layers", "The whole configuration"}
    if damage != "cut" or name.endswith(".json"):
        if name.endswith((".json", ".yaml")):
            assert any(name in line for line in document.summary)
        if name == "metrics.json":
            last = "the last validation at step 40: top1 90"
            assert document.summary[0] == f"Unfinished, last seen at step 40, {last}."


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"classes": 3}', '{"classes": ["a"], "counts": [[1, 2]]}', '{"classes": ["a"], "pairs": [{}]}']
)
def test_a_damaged_confusion_is_said(whole: Path, text: str) -> None:
    (whole / "confusion.json").write_text(text)
    document = report_of(whole)
    [missing] = blocks(document, Text, "What is missing")
    assert missing.lines[0].startswith("Confusion.json cannot be read and is left out (")
    assert table(document, "classes").rows


def test_an_example_is_never_read_from_elsewhere(whole: Path) -> None:
    told = json.loads((whole / "examples/examples.json").read_text())
    told["examples"][0]["file"] = "../pictures/step_0000040.png"
    (whole / "examples/examples.json").write_text(json.dumps(told))
    assert [one.title for one in blocks(report_of(whole), Pictures)] == ["Worst examples", "Fixed validation images"]


def test_a_metric_that_is_no_number_is_said_and_not_shown(tmp_path: Path) -> None:
    document = report_of(make_run(tmp_path / "0", top1=None))
    assert document.summary[0] == "Finished after 40 steps; its top1 is not a number or not recorded."
    assert "Note: metrics.json: top1 is not a number." in document.summary
    assert table(document, "metrics").rows[0] == ("top1", None, 90.5, 30)


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "0")
    for name in ("train.csv", "val.csv", "metrics.json"):
        (folder / name).unlink()
    document = report_of(folder)
    assert document.summary[0] == "Unfinished, and no step of it is recorded."
    assert blocks(document, Text, "Curves")[0].lines == ("No row of train.csv or val.csv could be read.",)


def test_paused_and_validated_runs_are_called_so(tmp_path: Path) -> None:
    paused, validated = (make_run(tmp_path / name, status=name) for name in ("paused", "validated"))
    metrics = json.loads((paused / "metrics.json").read_text())
    (paused / "metrics.json").write_text(json.dumps({**metrics, "step": 20}))
    assert report_of(paused).summary[0] == "Paused after 20 of 40 steps."
    assert "so these are not its results" in table(report_of(paused), "metrics").note
    assert report_of(validated).summary[0] == "top1 90. An evaluation of weights, without training."


@pytest.mark.parametrize("given", [{"recipe": "smoke"}, {"recipe": "base"}])
def test_a_toy_is_called_a_toy(tmp_path: Path, given: dict[str, object]) -> None:
    made = {"data.synthetic": "digits", "data.root": None}
    toy = report_of(make_run(tmp_path / "toy", changed=made, **given))  # type: ignore[arg-type]
    assert any("on a toy, not the paper's data" in line for line in toy.summary)
    assert not any("toy" in line for line in report_of(make_run(tmp_path / "real")).summary)


def test_overview_groups_seeds_and_only_counts_finished_runs(tmp_path: Path) -> None:
    for decay, values in ((0.75, (80.0, 82.0, 84.0)), (0.65, (90.0, 91.0, None))):
        for seed, value in enumerate(values):
            make_run(tmp_path / f"r/{decay}/{seed}", top1=value, seed=seed, changed={"optim.layer_decay": decay})
    paused = make_run(tmp_path / "r/paused", top1=99.0, status="paused")
    document = overview_document(find_runs([tmp_path / "r"]), "now")
    assert document.title == "7 runs of flowers"
    groups: tuple[tuple[object, ...], ...] = table(document, "groups_flowers").rows
    assert groups[0] == ("base", 0.65, 2, 90.5, pytest.approx(math.sqrt(0.5)))
    assert groups[1] == ("base", 0.75, 3, 82.0, 2.0)
    assert document.summary[1].startswith("flowers: the highest top1 is 90.5 ± 0.7071 (2 runs")
    runs = {row[0]: row for row in table(document, "runs_flowers").rows}
    assert runs["r/paused"][4] is None and runs["r/paused"][5] == "paused"
    [missing] = blocks(document, Text, "What is missing")
    assert missing.lines == ("0.65/2: metrics.json: top1 is not a number.",)
    assert paused.is_dir()


def test_overview_of_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    for seed, value in enumerate((0.5, 0.4)):
        folder = tmp_path / f"r/{seed}"
        make_run(folder, top1=value, changed={"optim.lr": 0.1 + seed}, monitor=("psnr_gap", "min"))
    document = overview_document(find_runs([tmp_path / "r"]), "now")
    assert "the lowest psnr_gap is 0.4 (1 run)" in document.summary[1]


def test_two_tasks_are_two_sections(tmp_path: Path) -> None:
    make_run(tmp_path / "r/a/base/0", task="/anywhere/my_task.py")
    make_run(tmp_path / "r/b/base/0", task="birds")
    document = overview_document(find_runs([tmp_path / "r"]), "now")
    assert [section.title for section in document.sections] == ["my_task", "birds", "Cost"]


def test_command_writes_every_form_and_prints_json(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(whole), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == "flowers, base: run 0"
    files = {Path(one["path"]).relative_to(whole / "report").as_posix(): one["bytes"] for one in found["files"]}
    assert {"report.html", "report.md", "report.tex", "tables/metrics.csv", "charts/loss.svg"} <= set(files)
    assert all((whole / "report" / name).stat().st_size == size for name, size in files.items())
    assert main(["report", str(whole.parents[2]), "--output", str(whole.parents[3] / "all")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "1 run of flowers"
    assert (whole.parents[3] / "all/report.html").is_file()


def test_an_earlier_report_leaves_no_stale_tables(whole: Path) -> None:
    other = whole / "report/tables/mine.csv"
    other.parent.mkdir(parents=True)
    other.write_text("a file that was there before any report")
    assert main(["report", str(whole)]) == 0
    assert other.is_file()
    assert (whole / "report/tables/layers_lr.csv").is_file()
    (whole / "layers.csv").unlink()
    assert main(["report", str(whole)]) == 0
    assert not (whole / "report/tables/layers_lr.csv").exists()
    assert not (whole / "report/charts/layers_lr.svg").exists()
    assert other.is_file()
    assert (whole / "report/tables/loss.csv").is_file()


def test_only_files_of_a_report_are_ever_removed(whole: Path) -> None:
    assert main(["report", str(whole)]) == 0
    listed = whole / "report/.files.json"
    assert "tables/loss.csv" in json.loads(listed.read_text())
    listed.write_text(
        json.dumps(["../config.yaml", "tables/../../config.yaml", "tables/..", "tables/loss.csv", "report.html", 7])
    )
    assert main(["report", str(whole)]) == 0
    assert (whole / "config.yaml").is_file()
    listed.write_text("{")
    assert main(["report", str(whole)]) == 0


def test_bad_paths_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "runs/0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for words, said in (
        ([str(tmp_path / "rnus")], f"maekit: no folder {tmp_path / 'rnus'}; did you mean 'runs'?"),
        ([str(tmp_path / "empty")], f"maekit: no run in {tmp_path / 'empty'}:"),
        ([str(run / "config.yaml")], f"maekit: {run / 'config.yaml'} is a file, expected a run's folder"),
        (
            [str(run), "--output", str(tmp_path / "file")],
            f"maekit: {tmp_path / 'file'} is a file, expected a folder for",
        ),
        ([str(run), "--against", str(tmp_path)], f"maekit: --against is for one study, and {run} is none"),
    ):
        assert main(["report", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith(said), error
        assert error.count("\n") == 1


def test_a_run_stands_beside_the_published_number_of_its_recipe(tmp_path: Path, whole: Path) -> None:
    given: dict[str, Any] = {"weights": "mae_vit_base", "step": 500}
    folder = paper_run(tmp_path / "0", "imagenet_finetune", "base", {"top1": 83.7, "loss": 0.7}, **given)
    document = report_of(folder)
    said = "within the seed noise (+- 0.23, from the published 0.08); a single seed, whose own noise is taken to be the"
    assert document.summary[1].startswith(
        "Published for this recipe (table 3: MAE, 1600 epochs on normalised pixels, B)"
    )
    assert f": 83.6; this run 83.7, +0.10: {said} published" in document.summary[1]
    rows = table(document, "published").rows
    assert rows[0][:4] == ("3: MAE, 1600 epochs on normalised pixels, B", 83.6, 83.7, 0.1)
    changed = {**given, "changed": {"optim.layer_decay": 0.5}}
    other = report_of(paper_run(tmp_path / "1", "imagenet_finetune", "base", {"top1": 83.7}, **changed))
    assert {row[4] for row in table(other, "published").rows} == {"no verdict, since it differs from the recipe"}
    assert not any(block.name == "published" for block in blocks(report_of(whole), Table))
