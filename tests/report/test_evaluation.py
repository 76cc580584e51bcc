"""What a report says of an evaluation's images: intervals, labels to check, confusions, curves of objects, the data."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maekit.report.document import Document, Facts, HeatMap, LineChart, Pictures, Table, Text
from maekit.report.runs.report import run_document
from maekit.report.runs.suspects import suspects
from maekit.runs.evaluated import Interval
from maekit.runs.read import Run, read_run
from tests.report.helpers import STEPS, add_parts, blocks, make_run, table, write_csv

SCORES = [
    ("a/1.jpg", "cat", "cat", 0.9, 0.9),
    ("a/2.jpg", "cat", "cat", 0.7, 0.7),
    ("a/3.jpg", "cat", "dog", 0.8, 0.1),  # surer than the dogs' 0.31 on average
    ("a/4.jpg", "cat", "dog", 0.45, 0.4),  # not so sure
    ("b/5.jpg", "dog", "dog", 0.6, 0.6),
    ("b/6,7.jpg", "dog", "cat", 0.95, 0.02),
]


def report_of(folder: Path) -> Document:
    return run_document(read_run(folder), "now")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "runs/flowers/base/0")
    add_parts(folder)
    return folder


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def add_intervals(folder: Path, **values: Any) -> None:
    intervals = {"level": 0.95, "resamples": 1000, "images": 36, "values": values}
    write(folder / "evaluation.json", {"checkpoint": "best.ckpt", "step": 30, "intervals": intervals})


def add_scores(folder: Path) -> None:
    names = ("file", "label", "predicted", "probability", "probability_of_label")
    write_csv(folder / "image_scores.csv", [dict(zip(names, row, strict=True)) for row in SCORES])


def test_an_interval_stands_beside_its_value(run: Path) -> None:
    add_intervals(run, top1=[78.25, 95.5], loss=[0.1, 0.2])
    assert read_run(run).interval == Interval("top1", 78.25, 95.5, 0.95, 1000, 36)
    found = table(report_of(run), "metrics")
    assert found.columns == ("metric", "value", "best", "at step", "95 % low", "95 % high")
    assert found.rows == (("top1", 90.0, 90.5, 30, 78.25, 95.5), ("loss", 0.075, None, None, 0.1, 0.2))
    assert "95 % interval over 36 images (1,000 resamples)" in found.note


@pytest.mark.parametrize("damaged", [[1.0], [None, 2.0], "1 to 2", None, {"low": 1}])
def test_a_damaged_interval_is_none(run: Path, damaged: Any) -> None:
    add_intervals(run, top1=damaged)
    assert read_run(run).intervals == {}
    assert len(table(report_of(run), "metrics").columns) == 4
    (run / "evaluation.json").write_text('{"intervals": ')
    assert read_run(run).interval is None


def test_labels_to_check_are_those_the_model_is_unusually_sure_of(run: Path) -> None:
    add_scores(run)
    assert [one.file for one in suspects(Run(run))] == ["b/6,7.jpg", "a/3.jpg"]
    found = table(report_of(run), "suspects")
    assert found.rows[0] == ("b/6,7.jpg", "dog", "cat", 0.95, 0.02)
    (run / "image_scores.csv").write_text("file,psnr\nx.png,3\n")
    assert suspects(Run(run)) == [] and not [one for one in blocks(report_of(run), Table) if one.name == "suspects"]


def test_a_class_is_shown_with_what_it_is_taken_for(run: Path) -> None:
    rows = [{"name": "cat", "value": 50.0, "taken_for": "dog", "taken": 25.0}, {"name": "dog", "value": 75.0}]
    write(run / "per_class.json", {"metric": "IoU", "more": None, "classes": rows})
    found = table(report_of(run), "classes")
    assert found.columns == ("class", "IoU %", "most often taken for", "in %")
    assert found.rows == (("cat", 50.0, "dog", 25.0), ("dog", 75.0, None, None))


def test_confusions_of_objects_have_a_background(run: Path) -> None:
    counts = [[5, 1, 2], [0, 7, 0], [3, 0, 0]]
    found = {"classes": ["cat", "dog", "background"], "unit": "objects", "counts": counts, "min_score": 0.3}
    write(run / "confusion.json", found)
    [chart] = [one for one in blocks(report_of(run), HeatMap) if one.name == "confusion"]
    assert chart.unit == "objects" and chart.cells[2] == (3.0, None, None)
    assert "12 of 18 validation objects" in chart.caption and "score of 0.3" in chart.caption


def test_precision_over_recall_and_the_best_f1(run: Path) -> None:
    recall, precision = [0.0, 0.5, 1.0], [1.0, 0.8, 0.0]
    classes = [
        {"name": f"class {at}", "objects": at, "precision": precision, "best_f1": 0.6, "at_score": 0.4}
        for at in range(8)
    ]
    one = {"iou": 0.5, "recall": recall, "precision": precision, "classes": classes}
    write(run / "curves.json", {"box": one, "mask": {**one, "precision": [0.5, 0.4, 0.0]}})
    document = report_of(run)
    charts = {chart.name: chart for chart in blocks(document, LineChart, "Classes")}
    assert [series.label for series in charts["precision"].series] == ["boxes", "masks"]
    assert charts["precision"].series[1].points == ((0.0, 0.5), (0.5, 0.4), (1.0, 0.0))
    assert [series.label for series in charts["precision_classes"].series] == [f"class {at}" for at in range(7, 1, -1)]
    assert table(document, "best_f1").rows[0] == ("class 7", 7, 0.6, 0.4)
    (run / "curves.json").write_text('{"box": {"recall": [0]}}')
    assert any("urves.json cannot be read" in line for line in blocks(report_of(run), Text, "What is missing")[0].lines)


def test_the_data_section(run: Path) -> None:
    environment = json.loads((run / "environment.json").read_text())
    splits = {name: {"images": count, "fingerprint": name * 2} for name, count in (("train", 30), ("val", 10))}
    data = {"folder": "/data/set", "classes": ["n1", "n2"], "splits": splits, "summary": "30 and 10, one in four aside"}
    write(run / "environment.json", {**environment, "data": data})
    (run / "classes.txt").write_text("cat\ndog\n")
    balance = {"unit": "images", "train": [24, 6], "val": [8, 2], "part": ""}
    sizes = {"read": 30, "median": [640, 480], "smallest": [64, 48], "largest": [4000, 3000]}
    write(run / "data.json", {"classes": ["cat", "dog"], "balance": balance, "sizes": sizes})
    Image.new("RGB", (16, 16)).save(run / "samples.png")
    document = report_of(run)
    [facts] = blocks(document, Facts, "Data")
    pairs = dict(facts.pairs)
    assert pairs["classes"] == "2: cat, dog" and pairs["in words"] == "30 and 10, one in four aside"
    assert pairs["image size"].startswith("640 x 480 pixels (width x height) in the middle, from 64 x 48 to 4,000 x 3,")
    found = table(document, "balance")
    assert found.rows == (("dog", 6, 20.0, 2, 20.0), ("cat", 24, 80.0, 8, 80.0))
    assert found.note == "From 6 to 24 training images, 4 times as many."
    assert blocks(document, Pictures, "Data")[0].pictures[0].path == run / "samples.png"
    write(run / "data.json", {"classes": ["cat"], "balance": {"unit": "images", "train": [1, 2], "val": "all"}})
    assert not [one for one in blocks(report_of(run), Table) if one.name == "balance"]


def test_an_example_is_named_by_its_file(run: Path) -> None:
    told = json.loads((run / "examples/examples.json").read_text())
    told["examples"][0]["image"] = "a/1.jpg"
    write(run / "examples/examples.json", told)
    captions = [one.caption for block in blocks(report_of(run), Pictures, "Examples") for one in block.pictures]
    assert captions[:2] == ["a/1.jpg; true 3, best; loss 0.01", "true 3, worst; loss 9.5"]


def test_classes_and_examples_come_before_layers(run: Path) -> None:
    titles = [section.title for section in report_of(run).sections]
    assert titles.index("Classes") < titles.index("Examples") < titles.index("Data") < titles.index("Layers")


def test_cocos_numbers_are_drawn_by_kind(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs/objects/base/0", monitor=("box_AP", "max"))
    names = [
        f"{kind}_{name}" for kind in ("box", "mask") for name in ("AP", "AP50", "AP75", "APs", "APl", "AR1", "AR10")
    ]
    write_csv(run / "val.csv", [{"step": step, **{name: 1.0 + at for at, name in enumerate(names)}} for step in STEPS])
    shown = [[one.label for one in chart.series] for chart in blocks(report_of(run), LineChart) if "val_" in chart.name]
    assert shown == [
        [f"{kind}_{name}" for name in group]
        for kind in ("box", "mask")
        for group in (("AP", "AP50", "AP75"), ("APs", "APl"), ("AR1", "AR10"))
    ]


def test_the_rows_of_images_keep_their_words(run: Path) -> None:
    with (run / "image_scores.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([["image", "file", "label", "loss"], ["0", "7", "3", "0.25"], ["1", "x", "y", ""]])
    rows = read_run(run).image_scores
    assert rows == [
        {"image": 0.0, "file": "7", "label": "3", "loss": 0.25},
        {"image": 1.0, "file": "x", "label": "y", "loss": ""},
    ]
