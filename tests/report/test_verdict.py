"""The verdict on a run: each rule speaks where its numbers say so, else not, and says where they are too few."""

import json
from pathlib import Path
from typing import Any

import pytest

from maekit.report.document import Code, Finding, Findings, Text
from maekit.report.formats.markdown import render_markdown
from maekit.report.page.render import render_html
from maekit.report.runs.report import run_document
from maekit.report.runs.verdict.course import course, overfitting
from maekit.report.runs.verdict.guess import guess
from maekit.report.runs.verdict.mistakes import mistakes
from maekit.report.runs.verdict.sureness import balance, certainty, label_noise, shared_files, waiting
from maekit.report.runs.verdict.verdict import verdict
from maekit.runs.lock import only_writer
from maekit.runs.next_commands import next_commands
from maekit.runs.read import Run
from tests.report.helpers import make_run, write_csv


def run_of(folder: Path, values: list[float], *, monitor: tuple[str, str] = ("top1", "max"), **options: Any) -> Run:
    """A run whose monitored metric has these values at steps 10, 20, ..."""
    make_run(folder, monitor=monitor, **options)
    write_csv(folder / "val.csv", [{"step": 10 * (at + 1), monitor[0]: value} for at, value in enumerate(values)])
    return Run(folder)


def words(found: list[Finding] | None) -> str:
    assert found is not None
    return " ".join(one.text for one in found)


FLAT = [50.0, 80.0, 89.9, 90.0, 90.0, 89.95, 90.0, 90.1, 90.0]


@pytest.mark.parametrize(
    ("values", "said", "unsaid"),
    [
        (FLAT, "has hardly improved since step 30 of 90: 89.9 there, 90.1 at best", "still improving"),
        ([10.0, 20.0, 30.0, 40.0, 50.0, 60.0], "still improving at the end: 40 to 60", "hardly"),
        (
            [10.0, 90.0, 85.0, 70.0, 60.0, 50.0],
            "The best top1 is of step 20 of 60; the last is 40 worse. best.ckpt is that of the best.",
            "improv",
        ),
        ([10.0, 90.0, *[50.0] * 6], "--run.patience 5 would have ended the run earlier", "improv"),
        ([90.0, 80.0, 70.0, 60.0, 50.0], "never better than 90", "hardly"),
    ],
)
def test_the_course_of_a_run(tmp_path: Path, values: list[float], said: str, unsaid: str) -> None:
    found = words(course(run_of(tmp_path / "0", values)))
    assert said in found
    assert unsaid not in found


@pytest.mark.parametrize(
    ("rates", "ends", "said"),
    [
        ([1.0] * 9, None, "Longer training with these settings is unlikely to help."),
        ([1.0, 1.0, 0.2, *[0.1] * 6], None, "down to 20 % of its peak by then, so a longer schedule may still help."),
        ([1.0] * 9, (80, 97), ", as far as 36 validation images can tell."),
        ([], None, "90.1 at best."),
    ],
)
def test_what_a_plateau_says_of_longer_training(
    tmp_path: Path, rates: list[float], ends: tuple[float, float] | None, said: str
) -> None:
    folder = run_of(tmp_path / "0", FLAT).folder
    write_csv(
        folder / "train.csv", [{"step": 10 * (at + 1), "lr": rate} for at, rate in enumerate(rates)] or [{"step": 1}]
    )
    if ends is not None:
        found = {"level": 0.95, "resamples": 1000, "images": 36, "values": {"top1": ends}}
        (folder / "evaluation.json").write_text(json.dumps({"intervals": found}))
    assert words(course(Run(folder))).endswith(said)


def test_where_less_is_better_the_course_is_the_same_upside_down(tmp_path: Path) -> None:
    found = words(course(run_of(tmp_path / "down", [-value for value in FLAT], monitor=("loss", "min"))))
    assert "loss has hardly improved since step 30 of 90: -89.9 there, -90.1 at best." in found


def test_of_few_validations_a_resumed_step_and_an_evaluation_no_course_is_told(tmp_path: Path) -> None:
    assert course(run_of(tmp_path / "0", [1.0, 2.0, 3.0, 4.0])) is None
    assert course(run_of(tmp_path / "1", FLAT, status="validated")) is None
    run = run_of(tmp_path / "2", [1.0, 2.0, 3.0, 4.0])
    rows = [{"step": step, "top1": value} for step, value in ((10, 1.0), (20, 2.0), (20, 2.0), (30, 3.0), (40, 4.0))]
    write_csv(run.folder / "val.csv", rows)
    assert course(run) is None  # one step was validated twice
    unknown = run_of(tmp_path / "3", [float("nan")] * 6)
    assert course(unknown) is None


def losses(folder: Path, train: list[float], val: list[float]) -> Run:
    make_run(folder)
    for name, values in (("train", train), ("val", val)):
        write_csv(folder / f"{name}.csv", [{"step": 10 * (at + 1), "loss": loss} for at, loss in enumerate(values)])
    return Run(folder)


def test_overfitting_is_a_rising_validation_loss_beside_a_falling_training_loss(tmp_path: Path) -> None:
    falling = [2.0, 1.5, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1]
    rising = [2.0, 1.0, 0.8, 0.9, 1.0, 1.1, 1.2, 1.2]
    assert "1.2, 50 % above its lowest of step 30" in words(overfitting(losses(tmp_path / "0", falling, rising)))
    assert overfitting(losses(tmp_path / "1", falling, falling)) == []
    assert overfitting(losses(tmp_path / "2", rising, rising)) == []  # both rise: something else is wrong
    assert overfitting(losses(tmp_path / "3", falling, rising[:3])) is None


def interval(folder: Path, low: float, high: float) -> Run:
    make_run(folder)
    ends = {"level": 0.95, "resamples": 1000, "images": 36, "values": {"top1": [low, high]}}
    (folder / "evaluation.json").write_text(json.dumps({"intervals": ends}))
    return Run(folder)


def test_a_wide_interval_says_that_there_are_few_images(tmp_path: Path) -> None:
    assert "36 validation images are few: top1 90.5 may be anything from 80 to 97" in words(
        certainty(interval(tmp_path / "0", 80, 97))
    )
    assert certainty(interval(tmp_path / "1", 90, 91)) == []
    assert "36 validation images are few: top1 90.5 without any spread" in words(
        certainty(interval(tmp_path / "3", 100, 100))  # 1 - 0.05 ** (1 / 36)
    )
    assert "up to 8 % of new images" in words(certainty(interval(tmp_path / "4", 100, 100)))
    make_run(tmp_path / "2")
    assert certainty(Run(tmp_path / "2")) is None


def confusion(folder: Path, **content: Any) -> Run:
    make_run(folder)
    (folder / "confusion.json").write_text(json.dumps(content))
    return Run(folder)


def test_classes_that_are_taken_for_others(tmp_path: Path) -> None:
    names = ["brick", "grass", "gravel"]
    found = mistakes(confusion(tmp_path / "0", classes=names, counts=[[10, 2, 0], [0, 12, 0], [0, 7, 5]]))
    assert words(found) == "gravel is taken for grass in 7 of 12 images."
    assert mistakes(confusion(tmp_path / "1", classes=names, counts=[[9, 1, 0], [0, 9, 1], [1, 0, 9]])) == []
    assert mistakes(confusion(tmp_path / "8", classes=names, counts=[[2, 0, 0], [0, 1, 0], [1, 0, 1]])) is None
    collapsed = mistakes(confusion(tmp_path / "all", classes=names, counts=[[0, 9, 0], [0, 9, 0], [0, 9, 0]]))
    assert words(collapsed).startswith("27 of 27 images are predicted as grass: it tells no classes apart.")
    few = mistakes(confusion(tmp_path / "2", classes=names, counts=[[9, 0, 0], [0, 9, 0], [0, 2, 0]]))
    assert few == []  # two images of a class say nothing
    never = mistakes(confusion(tmp_path / "3", classes=names, counts=[[9, 0, 0], [0, 9, 0], [3, 3, 0]]))
    assert "Never predicted: gravel." in words(never)
    pixels = confusion(tmp_path / "4", classes=names, unit="pixels", counts=[[90, 10, 0], [0, 50, 0], [0, 30, 70]])
    assert words(mistakes(pixels)) == "gravel is taken for grass in 30 % of its pixels."
    every: list[dict[str, Any]] = [{"classes": names, "counts": [[1, 2]]}, {"classes": names, "counts": None}, {}]
    for at, damaged in enumerate(every):
        assert mistakes(confusion(tmp_path / f"damaged{at}", **damaged)) is None


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            [[5, 4], [3, 1]],
            "No better than a guess: 6 of 13 images are right, and sick for every one",
        ),
        (
            [[90, 2], [4, 4]],
            "and sick for every one of them would be right for 92, a lead that chance",
        ),
        ([[90, 2], [0, 8]], "Hardly better than a guess: 98 of 100"),  # 8 against 2
        ([[90, 2], [0, 18]], ""),  # 18 against 2
        ([[9, 0], [9, 0]], "No better than a guess: 9 of 18"),  # all as one
        ([[9, 1], [0, 0]], ""),  # one class alone
    ],
)
def test_classes_are_measured_against_the_most_frequent_one(tmp_path: Path, counts: list[list[int]], said: str) -> None:
    found = guess(confusion(tmp_path / "0", classes=["sick", "well"], counts=counts))
    assert found is not None
    assert bool(found) == bool(said)
    assert said in words(found)


@pytest.mark.parametrize(
    ("value", "ends", "said"),
    [
        (-0.02, (-0.06, 0.01), "No better than a guess: r2 -0.02 (95 % interval -0.06 to 0.01), and the mean of the"),
        (0.02, (-0.06, 0.1), "Hardly better than a guess: r2 0.02"),
        (0.2, (0.1, 0.3), ""),
    ],
)
def test_r2_is_measured_against_0(tmp_path: Path, value: float, ends: tuple[float, float], said: str) -> None:
    folder = run_of(tmp_path / "0", [value], monitor=("r2", "max"), top1=None).folder
    (folder / "metrics.json").write_text(json.dumps({"val": {"r2": value}, "status": "finished"}))
    assert guess(Run(folder)) is None
    found = {"level": 0.95, "resamples": 1000, "images": 36, "values": {"r2": ends}}
    (folder / "evaluation.json").write_text(json.dumps({"intervals": found}))
    again = guess(Run(folder))
    assert again is not None and bool(again) == bool(said)
    assert said in words(again)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "mIoU", "box_AP"])
def test_metrics_that_count_no_images_are_not_measured_against_a_guess(tmp_path: Path, metric: str) -> None:
    """More of a rare class may be found, as was wanted, while fewer images are right."""
    run = run_of(tmp_path / "0", [60.0], monitor=(metric, "max"))
    (run.folder / "confusion.json").write_text(json.dumps({"classes": ["a", "b"], "counts": [[70, 20], [2, 8]]}))
    assert guess(Run(run.folder)) is None


def test_what_a_detector_misses_and_invents(tmp_path: Path) -> None:
    run = confusion(
        tmp_path / "0", classes=["cat", "dog", "background"], unit="objects", min_score=0.3,
        counts=[[6, 0, 4], [0, 10, 0], [12, 3, 0]],
    )  # fmt: skip
    found = words(mistakes(run))
    assert "cat is missed in 4 of 10 objects." in found
    assert "15 boxes are where there is no object, beside 20 objects" in found
    assert "background" not in found
    none = confusion(
        tmp_path / "1", classes=["cat", "background"], unit="objects", min_score=0.3, counts=[[0, 4], [0, 0]]
    )
    assert words(mistakes(none)).startswith("No box has a score of 0.3 or more, so all objects count as missed here")


def scores(folder: Path, rows: list[dict[str, Any]]) -> Run:
    make_run(folder)
    write_csv(folder / "image_scores.csv", rows)
    return Run(folder)


def scored(at: int, label: str, predicted: str, sure: float) -> dict[str, Any]:
    of_label = sure if label == predicted else 1 - sure
    return {
        "image": at, "file": f"{at}.png", "label": label, "predicted": predicted, "probability": sure,
        "probability_of_label": of_label, "loss": 1.0,
    }  # fmt: skip


def test_labels_to_check_are_named_with_their_files(tmp_path: Path) -> None:
    right = [scored(at, "cat", "cat", 0.9) for at in range(4)] + [scored(at + 4, "dog", "dog", 0.9) for at in range(4)]
    found = label_noise(scores(tmp_path / "0", [*right, scored(8, "cat", "dog", 0.99)]))
    assert words(found) == "Labels to check of 1 validation image: 8.png (cat, predicted dog)."
    assert label_noise(scores(tmp_path / "1", right)) == []
    unknown = [scored(at + 9, "cow", "dog", 0.99) for at in range(4)]  # a class that was not learned, not wrong labels
    assert label_noise(scores(tmp_path / "3", [*right, *unknown])) == []
    assert label_noise(scores(tmp_path / "4", [right[0], right[4]])) is None  # an image of each class says nothing
    make_run(tmp_path / "2")
    assert label_noise(Run(tmp_path / "2")) is None


def counted(folder: Path, train: list[int], val: list[int]) -> Run:
    make_run(folder, changed={"data.sampling": None})
    content = {"classes": ["cat", "dog"], "balance": {"unit": "images", "train": train, "val": val}}
    (folder / "data.json").write_text(json.dumps(content))
    return Run(folder)


def test_unbalanced_and_unseen_classes(tmp_path: Path) -> None:
    found = balance(counted(tmp_path / "0", [500, 20], [10, 0]))
    assert "The validation images have no dog" in words(found)
    assert "20 training images of dog, 500 of cat. Rare classes count more with --data.sampling balanced." in words(
        found
    )
    assert balance(counted(tmp_path / "1", [50, 20], [10, 5])) == []
    assert "Fewer than 5 training images: dog (1)." in words(balance(counted(tmp_path / "3", [9, 1], [10, 5])))
    assert balance(counted(tmp_path / "2", [50], [10, 5])) is None


def test_validation_files_that_are_training_files(tmp_path: Path) -> None:
    for count, first in ((0, []), (8, ["train/a.png", "val/b.png"])):
        run = counted(tmp_path / str(count), [50, 20], [10, 5])
        known = json.loads((run.folder / "data.json").read_text())
        shared = {"compared": [70, 15], "count": count, "first": first}
        (run.folder / "data.json").write_text(json.dumps({**known, "in_both_splits": shared}))
    said = words(shared_files(Run(tmp_path / "8")))
    assert said.startswith(
        "8 of 15 validation images are training images too, byte for byte, such as val/b.png (train/a"
    )
    assert shared_files(Run(tmp_path / "0")) == []
    assert shared_files(counted(tmp_path / "older", [50, 20], [10, 5])) is None


def test_waiting_for_images(tmp_path: Path) -> None:
    make_run(tmp_path / "0")
    assert "31 % of the time" in words(waiting(Run(tmp_path / "0")))
    metrics = json.loads((tmp_path / "0" / "metrics.json").read_text())
    (tmp_path / "0" / "metrics.json").write_text(json.dumps({**metrics, "data_share": 0.02}))
    assert waiting(Run(tmp_path / "0")) == []
    (tmp_path / "0" / "metrics.json").write_text(json.dumps({**metrics, "data_share": None}))
    assert waiting(Run(tmp_path / "0")) is None


def test_each_sentence_links_to_the_section_that_has_its_numbers(tmp_path: Path) -> None:
    run = run_of(tmp_path / "0", FLAT)
    document = run_document(run, "now")
    first = document.sections[0]
    assert first.title == "Verdict"
    (findings,) = (block for block in first.blocks if isinstance(block, Findings))
    titles = [section.title for section in document.sections]
    page = render_html(document)
    for one in findings.items:
        assert f'<a href="#part-{titles.index(one.section) + 1}">{one.section}</a>' in page
        assert f"(*{one.section}*)" in render_markdown(document, {}, {})
    (text,) = (block for block in first.blocks if isinstance(block, Text))
    assert any(line.startswith("Not judged") and "labels that may be wrong" in line for line in text.lines)


def test_a_run_that_was_cut_short_says_why_and_nothing_else_before_a_validation(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "0", status="")
    for name in ("val.csv", "metrics.json"):
        (folder / name).unlink()
    (folder / "nan_step.pt").touch()
    (folder / ".lock").write_text(json.dumps({"ended": "failed", "reason": "loss is nan at step 2"}))
    section = verdict(Run(folder))
    assert section is not None
    findings, code = section.blocks
    assert isinstance(findings, Findings)
    assert [one.text for one in findings.items] == ["It failed: loss is nan at step 2."]
    assert isinstance(code, Code)
    assert "maekit replay" in code.text
    with only_writer(folder):
        assert verdict(Run(folder)) is None


def test_next_commands_are_those_for_what_the_run_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run(tmp_path / "my runs")
    assert next_commands(Run(folder)) == []  # there is no checkpoint
    (folder / "best.ckpt").touch()
    commands = [command for command, _ in next_commands(Run(folder))]
    assert commands[0] == "maekit predict photos/ --model 'my runs'"
    assert "maekit export 'my runs' --to onnx" in commands
    section = verdict(Run(folder))
    assert section is not None
    (code,) = (block for block in section.blocks if isinstance(block, Code))
    assert "\nmaekit export 'my runs' --to onnx" in code.text
    pretrained = make_run(tmp_path / "mae", changed={"model.mask_ratio": 0.75})
    (pretrained / "last.ckpt").touch()
    assert next_commands(Run(pretrained))[0][0] == "maekit reconstruct photos/ --weights mae"
    paused = make_run(tmp_path / "paused", status="paused")
    (paused / "last.ckpt").touch()
    assert [command for command, _ in next_commands(Run(paused))] == ["maekit fit --ckpt_path paused"]
