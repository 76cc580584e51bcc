"""Runs on the folds of the same images are joined by a report, and never compared with each other or the paper."""

import json
from pathlib import Path
from typing import Any

import pytest

from maekit.base.identity import whole_fingerprint
from maekit.classification.data.folders import ClassFolders
from maekit.cli import main
from maekit.paper.match import refusal
from maekit.paper.tables import load_table
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.report.document import Table
from maekit.report.runs.overview import overview_document
from maekit.report.runs.side_by_side import groups, metrics
from maekit.runs.data import same_data
from maekit.runs.read import Run, read_run
from maekit.system.folds import fold_means, missing_folds
from tests.conftest import few_digits
from tests.report.helpers import make_run, table


def folded(folder: Path, fold: str, top1: float, *, whole: str = "all", **given: Any) -> Run:
    """A run on one fold, which recorded its data."""
    changed = {"data.fold": fold, "data.split_seed": 0, **given.pop("changed", {})}
    make_run(folder, top1=top1, changed=changed, **given)
    environment = json.loads((folder / "environment.json").read_text())
    splits = {name: {"images": 50, "fingerprint": f"{name}{fold}"} for name in ("train", "val")}
    environment["data"] = {"folder": "/data", "classes": ["a", "b"], "splits": splits, "whole": whole}
    (folder / "environment.json").write_text(json.dumps(environment))
    return read_run(folder)


def groups_of(runs: list[Run]) -> Table:
    return table(overview_document(runs, "now"), "groups_flowers")


def test_folds_are_joined_with_their_mean_and_those_missing_are_said(tmp_path: Path) -> None:
    runs = [folded(tmp_path / f"a{at}", f"{at}/3", value) for at, value in ((1, 90.0), (2, 80.0), (3, 70.0))]
    runs.append(folded(tmp_path / "a1b", "1/3", 94.0, seed=1))  # fold 1 counts with the mean of its seeds
    partly = {"optim.lr": 0.1}
    runs += [folded(tmp_path / f"b{at}", f"{at}/3", 99.0, changed=partly) for at in (1, 2)]
    found = groups_of(runs)
    assert found.columns[-5:] == ("n", "top1, mean", "std", "folds", "missing")
    assert [row[-5:] for row in found.rows] == [
        (3, pytest.approx((92 + 80 + 70) / 3), pytest.approx(11.0151, abs=1e-3), 3, ""),
        (2, 99.0, 0.0, 3, "3/3"),
    ]
    document = overview_document(runs, "now")
    assert any("(3 of 3 folds, mean and standard deviation)" in line for line in document.summary)
    assert {row[2] for row in table(document, "runs_flowers").rows} == {"1/3", "2/3", "3/3"}
    lonely = overview_document(runs[:1], "now")
    assert any("90 (1 of 3 folds; fold 2/3, 3/3 missing)" in line for line in lonely.summary)


@pytest.mark.parametrize(
    "other",
    [{"whole": "other"}, {"fold": "1/5"}, {"changed": {"data.split_seed": 1}}],
    ids=["images", "number of folds", "division"],
)
def test_folds_of_other_images_or_another_division_are_not_joined(other: dict[str, Any], tmp_path: Path) -> None:
    one = folded(tmp_path / "one", "1/3", 90.0)
    two = folded(tmp_path / "two", **{"fold": "2/3", "top1": 80.0, **other})
    assert len(groups([one, two])) == 2
    assert len(groups([one, folded(tmp_path / "three", "2/3", 80.0)])) == 1


def test_folds_are_not_ranked_against_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [folded(tmp_path / "one", "1/3", 90.0), folded(tmp_path / "two", "2/3", 80.0)]
    assert not same_data(runs)
    assert all(metric.best == () for metric in metrics(runs))
    assert main(["compare", *(str(run.folder) for run in runs)]) == 0
    assert "of different folds, so no best is marked" in capsys.readouterr().out


def test_a_fold_stands_beside_no_published_number(tmp_path: Path) -> None:
    cell = next(cell for cell in load_table("3").cells)
    assert "validated on fold 2/5" in (refusal(folded(tmp_path / "one", "2/5", 90.0), cell, "last") or "")


def test_all_folds_of_a_list_have_its_images_in_common(tmp_path: Path) -> None:
    (tmp_path / "digits").symlink_to(few_digits() / "train")
    numbers = load_recipe(find_task("imagenet_finetune"), "smoke").values["data"]

    def identity(root: Path, fold: str | None) -> dict[str, Any]:
        return ClassFolders(**{**numbers, "root": str(root), "fold": fold}).identity().plain()

    one, two = identity(tmp_path / "digits", "1/4"), identity(tmp_path / "digits", "2/4")
    assert one["whole"] == two["whole"] != ""
    assert one["splits"] != two["splits"]
    assert "whole" not in identity(few_digits(), None)


def test_values_over_folds() -> None:
    means = fold_means([("2/10", 3.0), ("10/10", 1.0), ("2/10", 5.0)])
    assert [*means.items()] == [("2/10", 4.0), ("10/10", 1.0)]
    assert missing_folds(means, 10) == [f"{at}/10" for at in (1, 3, 4, 5, 6, 7, 8, 9)]
    assert whole_fingerprint(["a", "b"]) == whole_fingerprint(["b", "a"]) != whole_fingerprint(["a", "c"])
