"""The best and worst images of a run: scores are the metric's own, pictures the data's, and no run is lost by them."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torch import nn
from torch.nn import functional as F

import maekit
from maekit.base.shown import Judged
from maekit.base.spec import Draw
from maekit.classification.cached_features import CachedFeatures
from maekit.classification.model import Classifier
from maekit.classification.shown import ShownClasses
from maekit.detection.metrics.coco_masks import CocoResults
from maekit.detection.metrics.image import image_counts
from maekit.drawing.views import short_name, single_view
from maekit.segmentation.data.dataset import SegEvalBatch
from maekit.segmentation.metrics import image_score
from maekit.training.callbacks.examples import evaluating
from maekit.training.examples import choose, judge_some, spread, write_examples
from tests.detection.helpers_metrics import found_square, square
from tests.helpers_families import few_labelled, few_objects, few_plain
from tests.helpers_run import tiny
from tests.pretraining import helpers as pretraining
from tests.segmentation import helpers as segmentation


def shown(run: str | Path) -> dict[str, Any]:
    """What `examples.json` says; every picture it names is there, and no other."""
    said: dict[str, Any] = json.loads((Path(run) / "examples/examples.json").read_text())
    files = {file.name for file in (Path(run) / "examples").iterdir()}
    assert files == {row["file"] for row in said["examples"]} | {"examples.json"}
    return said


@pytest.mark.parametrize("best", [1, 3])
def test_a_runs_examples_are_judged_by_its_best_average(
    best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 images: each loss is that of the weights in best.ckpt, which with averaged weights is the average."""
    monkeypatch.setattr(Classifier, "monitor", ("loss", "max" if best == 1 else "min"))  # the loss falls
    options: dict[str, Any] = {"trainer__val_check_interval": 1, "trainer__limit_val_batches": 1.0}
    session: Any = tiny(tmp_path, trainer__max_steps=3, model__ema_decay=0.5, **options)
    result = session.fit()
    run = Path(result["folder"])
    said = shown(run)
    assert result["best"]["step"] == said["step"] == best
    assert said["checkpoint"] == "best.ckpt"
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert (evaluation["checkpoint"], evaluation["step"]) == ("best.ckpt", best)
    intervals = evaluation["intervals"]
    assert result["intervals"] == json.loads((run / "metrics.json").read_text())["intervals"] == intervals
    assert (intervals["images"], intervals["resamples"]) == (20, 1000)
    rows = list(csv.DictReader((run / "image_scores.csv").read_text().splitlines()))
    root = session.data.data_root()
    assert [row["file"] for row in rows] == sorted(str(file.relative_to(root)) for file in root.glob("val/*/*.*"))
    assert sum(float(row["loss"]) for row in rows) / 20 == pytest.approx(result["best"]["value"], rel=1e-5)
    low, high = intervals["values"]["loss"]
    assert low <= result["best"]["value"] <= high
    assert (said["of"], said["score"], said["best"]) == ("all 20 validation images", "loss", "low")
    model, last = session.model, torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in model.state_dict().items():  # the model itself has its last weights again
        assert torch.equal(tensor, last[f"model.{name}"])
    state = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})
    images, expected = session.data.val_dataset(), {}
    for index in range(20):
        image, label, _ = images[Draw(0, index)]
        with torch.no_grad():
            logits = model.eval()(image[None])
        likely = logits.softmax(1).max(1)
        names = [model.spec.class_names[number] for number in (label, int(likely.indices))]
        caption = f"true {names[0]}, predicted {names[1]} (p {float(likely.values):.2f})"
        expected[index] = float(F.cross_entropy(logits, torch.tensor([label]))), caption, image
    with torch.no_grad():  # as a run without an evaluation of its weights judges
        judged = judge_some(model.shown(), session.data, first=20, batch_size=8, move=lambda batch: batch)
    for index, one in judged.items():
        assert one.score == pytest.approx(expected[index][0], rel=1e-4) and one.caption == expected[index][1]
    assert sorted(judged) == list(range(20))
    ranked = sorted(expected, key=lambda index: expected[index][0])
    assert [(row["kind"], row["index"]) for row in said["examples"]] == [
        *(("best", index) for index in ranked[:6]), *(("worst", index) for index in ranked[:-7:-1])
    ]  # fmt: skip
    values = session.data.input_transform()
    for row in said["examples"]:
        loss, caption, image = expected[row["index"]]
        assert row["score"] == pytest.approx(loss, rel=1e-4)
        assert row["caption"] == caption
        with Image.open(run / "examples" / row["file"]) as file:
            picture = np.asarray(file.convert("RGB")).astype(float)
        std, mean = (torch.tensor(values[name])[:, None, None] for name in ("std", "mean"))
        pixels = (255 * (image * std + mean)).permute(1, 2, 0).numpy()
        factor = picture.shape[0] // pixels.shape[0]
        assert factor > 1 and picture.shape[0] <= 192
        assert np.abs(picture - pixels.repeat(factor, 0).repeat(factor, 1)).mean() < 3


def test_only_a_finished_run_has_examples_of_the_images_it_validates(tmp_path: Path) -> None:
    first = tiny(tmp_path, trainer__max_epochs=1, run__stop_at_step=2).fit()
    assert not (Path(first["folder"]) / "examples").exists()
    tiny(tmp_path, trainer__max_epochs=1, data__device_batch_size=4).fit(Path(first["folder"]) / "last.ckpt")
    said = shown(first["folder"])
    assert said["of"] == "4 of the 20 validation images, evenly spread"
    assert sorted(row["index"] for row in said["examples"]) == [0, 1, 2, 3], "limit_val_batches: 1 batch of 4"


def test_a_failure_is_one_line_and_the_run_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no room\nat all")

    monkeypatch.setattr(ShownClasses, "judged", broken)
    result = tiny(tmp_path, trainer__max_steps=1).fit()
    assert result["status"] == "finished"
    lines = [line for line in capsys.readouterr().out.splitlines() if "no room" in line]
    assert lines == ["no examples: no room; the run itself is whole"]
    assert (Path(result["folder"]) / "metrics.json").is_file()
    assert not (Path(result["folder"]) / "examples").exists()


def test_evaluating_puts_everything_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2))
    model[2].eval()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with pytest.raises(ValueError, match="x"), evaluating(model, torch.device("cpu")):
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
        torch.rand(5)
        raise ValueError("x")
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("count", "best", "good", "bad"),
    [(20, "low", [0, 1, 2, 3, 4, 5], [19, 18, 17, 16, 15, 14]), (5, "high", [4, 3, 2], [0, 1]), (1, "low", [0], [])],
)
def test_the_best_and_the_worst(count: int, best: Any, good: list[int], bad: list[int]) -> None:
    judged = {index: Judged(float(index), "") for index in reversed(range(count))}
    chosen = choose({**judged, 98: Judged(math.nan, ""), 99: Judged(math.inf, "")}, best)
    assert [example.place for example in chosen] == good + bad
    assert [example.file for example in chosen][: len(good)] == [f"best_{rank}.jpg" for rank in range(len(good))]
    assert chosen[len(good) :] == [("worst", rank, place, judged[place]) for rank, place in enumerate(bad)]


@pytest.mark.parametrize(("images", "size"), [(50_000, 64), (256, 100), (7, 3), (1, 8), (0, 8)])
def test_batches_are_spread_over_all_images(images: int, size: int) -> None:
    """The listing is sorted by class: its beginning is a few classes only, and so would be that of a slow model."""
    batches = spread(images, size)
    places = sorted(place for one in batches for place in one)
    assert len(places) == len(set(places)) == min(images, 256)
    assert all(0 < len(one) <= size for one in batches)
    if images == 50_000:
        assert max(np.diff(places)) == 196 and places[0] == 0 and places[-1] > 49_800
        assert all(one[-1] - one[0] > 48_000 for one in batches)


def test_a_slow_model_is_judged_on_fewer(tmp_path: Path) -> None:
    session = tiny(tmp_path)
    options: dict[str, Any] = {"first": 20, "batch_size": 8, "move": lambda batch: batch}
    with torch.no_grad():
        few = judge_some(session.model.shown(), session.data, **options, seconds=0)
        all_of_them = judge_some(session.model.shown(), session.data, **options)
    assert (sorted(few), sorted(all_of_them)) == (list(range(0, 20, 3)), list(range(20)))


def test_small_images_are_enlarged_pixel_by_pixel_and_large_ones_shrunk() -> None:
    small = Image.fromarray(np.arange(28 * 20 * 3, dtype=np.uint8).reshape(20, 28, 3))
    assert np.array_equal(np.asarray(single_view(small)), np.asarray(small).repeat(6, 0).repeat(6, 1))
    assert single_view(Image.new("RGB", (1000, 500))).size == (320, 160)
    assert single_view(Image.new("L", (224, 224))).size == (224, 224)
    assert short_name("tench") == "tench" and len(short_name("x" * 99)) == 40


def test_cached_features_are_shown_as_their_images(tmp_path: Path) -> None:
    session = tiny(tmp_path)
    features = CachedFeatures(session.data, tmp_path)
    one, other = (session.model.shown().example_picture(data, 3) for data in (features, session.data))
    assert np.array_equal(np.asarray(one), np.asarray(other))


def test_a_segmented_image_is_judged_by_its_own_classes() -> None:
    model = segmentation.model().eval()
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(3, 64, width, generator=generator) for width in (64, 80)]
    labels = [torch.randint(3, (50, 60), generator=generator), torch.full((40, 40), 255)]
    labels[0][:5] = 255
    judged = model.shown().judge(SegEvalBatch(images, labels, torch.arange(2)))
    predicted, real = model.labels(images[0], (50, 60)), labels[0] != 255
    present = np.union1d(labels[0][real], predicted[real])
    scores = jaccard_score(labels[0][real], predicted[real], average=None, labels=present)
    right = 100 * (labels[0][real] == predicted[real]).float().mean()
    assert judged[0].score == pytest.approx(100 * scores.mean(), rel=1e-5)
    assert judged[0].caption == f"mIoU {judged[0].score:.1f}, {right:.1f} % of the pixels right"
    assert math.isnan(judged[1].score), "an image without a label is no example"
    assert image_score(labels[0], labels[0], 7) == pytest.approx((100, 100))


def test_a_wrong_class_costs_as_much_as_a_wrong_place() -> None:
    """Compared with counts by hand: right, wrong class, found without an object, on a crowd, nothing there."""
    ids = [4, 2]
    assert image_counts(found_square(1), [square(2)], ids, 0.3).f1 == 100
    assert image_counts(found_square(1), [square(2), square(4)], ids, 0.3) == (2, 1, 1)
    assert image_counts(found_square(0), [square(2)], ids, 0.3) == (1, 1, 0)
    assert image_counts(found_square(1), [], ids, 0.3).f1 == 0
    assert image_counts(found_square(1), [square(2, iscrowd=1)], ids, 0.3) == (0, 0, 0)
    assert image_counts(found_square(0), [square(2, iscrowd=1)], ids, 0.3) == (0, 1, 0)
    assert math.isnan(image_counts(found_square(1), [square(7)], ids, 1.1).f1)
    one = found_square(1)
    boxes, scores, labels = (np.repeat(part, 2, axis=0) for part in (one.boxes, one.scores, one.labels))
    twice = CocoResults(boxes, scores, labels, (one.rles or []) * 2)
    assert image_counts(twice, [square(2)], ids, 0.3) == (1, 2, 1), "an object is found once"


def test_the_best_image_is_not_one_of_wrong_classes() -> None:
    """Many right classes with one miss are better than all boxes right with all classes wrong."""
    wrong = image_counts(found_square(0), [square(2)], [4, 2], 0.3).f1
    right = image_counts(found_square(1), [square(2), square(4)], [4, 2], 0.3).f1
    chosen = choose({0: Judged(wrong, ""), 1: Judged(right, "")}, "high")
    assert [(one.kind, one.place) for one in chosen] == [("best", 1), ("worst", 0)]


def test_a_reconstruction_is_judged_by_its_hidden_patches() -> None:
    """The mean over images is the run's own metric, and the noise is each image's own."""
    model = pretraining.pretrainer().eval()
    batch = pretraining.batch_of(3)
    metrics = model.new_metrics()
    model.update_metrics(metrics, batch)
    judged = model.shown().judge(batch)
    values: dict[str, Any] = metrics.compute()
    assert np.mean([one.score for one in judged]) == pytest.approx(float(values["psnr"]), abs=1e-3)
    assert model.shown().judge(pretraining.batch_of(1, offset=2))[0].score == pytest.approx(judged[2].score, abs=1e-3)
    losses = [float(one.caption.rpartition(" ")[2]) for one in judged]
    assert np.mean(losses) == pytest.approx(float(values["loss"]), abs=1e-3)
    assert judged[0].caption.startswith(f"PSNR {judged[0].score:.1f} dB, loss ")


@pytest.mark.parametrize(
    ("task", "some", "width", "score"),
    [
        ("ade20k_upernet", few_labelled, 960, ("mIoU", "high")),
        ("mae_pretrain", few_plain, 600, ("PSNR", "high")),
        ("coco_maskrcnn", few_objects, 600, ("F1", "high")),
    ],
)
def test_dense_tasks_show_truth_and_prediction_beside_each_other(
    task: str, some: Callable[[Path], dict[str, Any]], width: int, score: tuple[str, str], tmp_path: Path
) -> None:
    small = {"model.backbone": "vit_test_patch8", "model.weights": "none", "data.num_workers": "0"}
    session = maekit.build(task, "smoke", small | some(tmp_path / "data"))
    options: dict[str, Any] = {"first": 3, "batch_size": 2, "move": lambda batch: batch}
    with evaluating(session.model, torch.device("cpu")):
        judged = judge_some(session.model.shown(), session.data, **options)
        write_examples(tmp_path, session.model.shown(), session.data, {**judged, 2: Judged(math.nan, "")})
    said = shown(tmp_path)
    assert (said["score"], said["best"]) == score == session.model.shown().score
    assert [(row["kind"], row["index"]) for row in said["examples"]] in (
        [("best", 0), ("worst", 1)], [("best", 1), ("worst", 0)]
    )  # fmt: skip
    assert said["examples"][0]["score"] >= said["examples"][1]["score"]
    for row in said["examples"]:
        with Image.open(tmp_path / "examples" / row["file"]) as picture:
            assert width <= picture.width <= 960 >= picture.height
        assert (row["score"], row["caption"]) == judged[row["index"]]
