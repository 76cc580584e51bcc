"""Several labels an image: tables in both forms, what they cannot mean, a short run, its results and predictions."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from maekit.base.checkpoint_card import read_card
from maekit.base.spec import Draw
from maekit.classification.data.label_table import LabelTable
from maekit.classification.data.table_images import TableImages
from maekit.classification.targets.metrics import LabelMetrics
from maekit.classification.targets.mix import PairMix
from maekit.cli import main
from maekit.data.digit_pairs import pairs_root
from maekit.data.digits import DIGITS
from maekit.errors import UserError
from maekit.recipes.tasks import find_task
from tests.classification.targets.helpers import Change, Row, changed, data, made, without
from tests.conftest import TINY


def labels(table: Path, **flags: Any) -> LabelTable:
    return data(LabelTable, table, **flags)


def test_lists_and_columns_of_labels_are_the_same_data(tmp_path: Path) -> None:
    table = made(tmp_path)
    lists, columns = labels(table), labels(table, label_column="cat, dog")
    first, second = lists.identity(), columns.identity()
    assert (first.classes, first.splits) == (second.classes, second.splits) == (("cat", "dog"), first.splits)
    assert lists.spec().target == "labels"
    _, label, _ = lists.val_dataset()[Draw(0, 0)]
    assert np.asarray(label).tolist() == [1, 0]  # the image 09.png
    assert "1.11 labels an image" in lists.summary()
    assert "9 training and 3 validation images of 2 labels" in lists.summary()
    assert "2 rows have no label" in lists.summary()
    assert "labels divided at ';'" in lists.summary()
    assert "divided" not in labels(table, label_separator=";").summary()


def test_labels_that_cannot_be_learned_are_said(tmp_path: Path) -> None:
    table = made(tmp_path, lambda rows: [row | {"cow": "0", "all": "1"} for row in rows])
    said = labels(table, label_column="cat,dog,cow,all").summary()
    assert "no training image has 1 of the 4 labels, which cannot be learned: 'cow'" in said
    assert "every training image has 1 of the 4 labels, which cannot be learned: 'all'" in said
    assert "1 of 4 classes have no validation images and are not judged: 'cow'" in said


def test_folds_hold_whole_groups_and_each_image_once(tmp_path: Path) -> None:
    table, seen = made(tmp_path, without("split")), []
    for fold in ("1/2", "2/2"):
        splits = labels(table, fold=fold, group_column="patient").read_splits(tmp_path)
        sides = [{int(name[:2]) // 3 for name in part.names} for part in (splits.train, splits.val)]
        assert not sides[0] & sides[1]
        seen += list(splits.val.names)
    assert sorted(seen) == [f"{number:02}.png" for number in range(12)]
    shares = labels(table).read_splits(tmp_path)
    assert (shares.val.labels.sum(0) > 0).all()  # both labels are in the share that was set aside


REFUSED: list[tuple[Change, dict[str, Any], str]] = [
    (changed("cat", "2"), {"label_column": "cat,dog"}, "row 5 has '2' in 'cat', expected 0 or 1"),
    (changed("cat", ""), {"label_column": "cat,dog"}, "row 5 has '' in 'cat', expected 0 or 1"),
    (lambda rows: rows, {"label_column": "cat,dgo"}, "no column 'dgo'.*did you mean 'dog'"),
    (changed("labels", "cat;cow"), {"classes": ["cat", "dog"]}, "row 5 has label 'cow', expected some of the 2"),
    (lambda rows: rows, {"label_column": "cat,dog", "classes": ["cat", "cow"]}, "expected the same names in both"),
    (changed("labels", "cat", range(12)), {}, "has one label of 1, expected rows with .*--task imagenet_finetune"),
    (changed("labels", "", range(12)), {}, "no row has a label"),
    (changed("labels", "cat,dog"), {}, "row 5 has 'cat,dog', expected labels with one mark between in all rows"),
    (changed("labels", "['cat', dog]", range(12)), {}, r"row 2 has '\['cat', dog\]', expected a list such as"),
    (
        lambda rows: [row | {"labels": ("cat dog", "cat")[at % 2]} for at, row in enumerate(rows)], {},
        "where blanks divide labels, as in 'cat dog', give --data.label_separator ' '",
    ),
    (lambda rows: [*rows, rows[4]], {}, "listed more than once"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "flags", "expected"), REFUSED, ids=[case[2][:30] for case in REFUSED])
def test_what_a_table_of_labels_cannot_mean_is_refused(
    tmp_path: Path, change: Change, flags: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as error:
        labels(made(tmp_path, change), **flags).setup()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("form", "mark"), [("['{}']", "', '"), ('["{}"]', '", "'), ("['{}']", "' '"), ("{}", " ")])
def test_lists_and_blanks_are_read_as_the_names_they_hold(tmp_path: Path, form: str, mark: str) -> None:
    def written(row: Row) -> Row:
        none = "" if form == "{}" else "[]"
        return row | {"labels": form.format(row["labels"].replace(";", mark)) if row["labels"] else none}

    expected, blank = labels(made(tmp_path)).read_splits(tmp_path), " " if form == "{}" else None
    found = labels(made(tmp_path, lambda rows: [*map(written, rows)]), label_separator=blank).read_splits(tmp_path)
    assert found.names == expected.names == ("cat", "dog")
    assert (found.train.labels == expected.train.labels).all()
    assert ("labels are lists of Python or JSON" in found.origin) == (blank is None)


def test_a_label_that_is_called_none_is_one_where_it_is_given(tmp_path: Path) -> None:
    table = made(tmp_path, lambda rows: [row | {"labels": ("none", "cat;dog")[at % 2]} for at, row in enumerate(rows)])
    given, found = (labels(table, classes=names).read_splits(tmp_path) for names in ("none,cat,dog", None))
    assert (given.train.labels.sum(1) > 0).all() and (found.train.labels.sum(1) == 0).any()


def test_data_of_another_task_are_told_which_one(tmp_path: Path) -> None:
    table = made(tmp_path)
    single: type[TableImages] = find_task("imagenet_finetune").load().Data
    with pytest.raises(UserError, match=r"several labels, 'cat;dog', .*--task multilabel_finetune"):
        data(single, table, label_column="labels").setup()
    listed = made(tmp_path, lambda rows: [row | {"labels": f"['{row['labels']}']"} for row in rows])
    with pytest.raises(UserError, match=r"row 2 has a list, '\[''\]', .*--task multilabel_finetune, or write the name"):
        data(single, listed, label_column="labels").setup()
    (tmp_path / "folders").mkdir()
    with pytest.raises(UserError, match=r"no table .*--task imagenet_finetune"):
        data(LabelTable, None, root=str(tmp_path / "folders")).setup()
    with pytest.raises(UserError, match=r"no such folder .*did you mean 'folders'"):
        data(LabelTable, None, root=str(tmp_path / "folder")).setup()


@pytest.mark.parametrize("value", ["0", "1.5"])
def test_a_threshold_outside_0_to_1_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--task", "multilabel_finetune", "--recipe", "smoke", "--model.threshold", value]
    assert main(words) == 2
    assert "model.threshold: got" in capsys.readouterr().err


def test_the_asymmetric_loss_takes_no_weights_of_labels(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model.label_loss=asymmetric", "--model.class_weights=auto"]
    assert main(["fit", "--task", "multilabel_finetune", "--recipe", "smoke", *flags]) == 2
    assert "got model.class_weights auto with model.label_loss asymmetric" in capsys.readouterr().err


def test_pairs_are_mixed_in_the_shares_of_their_images() -> None:
    np.random.seed(0)
    image, target = torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8), torch.arange(4.0)[:, None]
    for mix in (PairMix(0.8), PairMix(0, 1.0)):
        mixed = mix(image, target)
        torch.testing.assert_close(mixed.image.mean((1, 2, 3)), mixed.target[:, 0])
        assert not torch.equal(mixed.target, target)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps on the pairs of digits."""
    folder = tmp_path_factory.mktemp("labels")
    flags = ["--trainer.max_steps=4", "--run.name=run", f"--run.folder={folder}"]
    limits = [flag for flag in TINY if "limit_val" not in flag] + ["--trainer.limit_val_batches=3"]
    flags += ["--model.class_weights=auto"]
    assert main(["fit", "--task", "multilabel_finetune", "--recipe", "smoke", *limits, *flags]) == 0
    return folder / "multilabel_finetune/smoke/run"


def test_a_run_keeps_its_threshold_and_the_numbers_of_each_label(run: Path) -> None:
    measured = json.loads((run / "metrics.json").read_text())["val"]
    spec = read_card(run / "best.ckpt").spec
    assert spec.target == "labels" and all(0 < count < spec.train_images for count in spec.class_counts)
    kept = torch.load(run / "best.ckpt", weights_only=True)["maekit"]["measured"]
    found = json.loads((run / "labels.json").read_text())
    assert found["threshold"] == kept["threshold"] == pytest.approx(measured["threshold"])
    assert (found["tuned_on"], found["measured_on"]) == (24, 24)
    ap = [row["ap"] for row in found["labels"] if row["ap"] is not None]
    assert np.mean(ap) == pytest.approx(measured["map"])
    assert [row["name"] for row in found["labels"]] == sorted(DIGITS)
    per_class = json.loads((run / "per_class.json").read_text())
    assert (per_class["metric"], per_class["more"]) == ("AP", "F1")
    assert list((run / "examples").glob("*.png")) or list((run / "examples").iterdir())


def test_predictions_are_the_labels_from_the_kept_threshold_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((pairs_root() / "val").iterdir())[:3]:
        (images / path.name).write_bytes(path.read_bytes())
    assert main(["predict", "--ckpt_path", str(run), "--images", str(images)]) == 0
    threshold = torch.load(run / "best.ckpt", weights_only=True)["maekit"]["measured"]["threshold"]
    assert f"from a probability of {threshold:g} on: tuned on its validation images" in capsys.readouterr().out
    with (tmp_path / "predictions/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        over = [name for name in sorted(DIGITS) if float(row[name]) >= threshold]
        assert row["labels"] == ";".join(over)


def test_a_head_of_other_targets_is_refused_or_new(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", "--trainer.max_steps=1", *TINY]
    words += [f"--model.weights={run / 'best.ckpt'}", f"--run.folder={tmp_path}"]
    assert main(words) == 2
    assert "its head predicts labels, expected classes: start a fresh head with --model.new_head true" in (
        capsys.readouterr().err
    )
    assert main([*words, "--model.new_head=true"]) == 0


def test_mean_average_precision_of_parts_of_any_size_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(50, 4, generator=generator) < 0.4).float()
    predicted = (truth + torch.randn(50, 4, generator=generator)).sigmoid()
    metrics = LabelMetrics(0.5)
    for part in (torch.arange(1), torch.arange(1, 31), torch.arange(31, 50)):
        metrics.update(predicted[part], truth[part], part)
    expected = sklearn.metrics.average_precision_score(truth.numpy(), predicted.numpy(), average="macro")
    assert metrics.compute()["map"].item() == pytest.approx(expected, abs=1e-6)
