"""Rows of other pre-trainings: which runs are theirs follows from the weights' name, or from what the run recorded."""

from pathlib import Path
from typing import Any

import pytest

from maekit.api import build
from maekit.cli import main
from maekit.paper.fill import Filled, fill, unused
from maekit.paper.tables import load_table
from maekit.runs.find import find_runs
from maekit.runs.read import read_run
from tests.conftest import few_digits
from tests.paper.helpers import make_run

TASKS = {"3": ("imagenet_finetune", "base", 1000), "4": ("coco_maskrcnn", "table4_base", 80)}
TASKS["5"] = ("ade20k_upernet", "base", 150)
VALUES = {"top1": 83.0, "box_AP": 47.0, "mask_AP": 42.0, "mIoU": 47.0}
METRICS = {"3": ("top1",), "4": ("box_AP", "mask_AP"), "5": ("mIoU",)}
SCRATCH = "runs/imagenet_scratch/base/0/best.ckpt"


def ended(folder: Path, table: str, weights: str, **given: Any) -> Path:
    task, recipe, classes = TASKS[table]
    values = {name: VALUES[name] for name in METRICS[table]}
    return make_run(folder, task, recipe, values, weights=weights, classes=classes, **given)


def places(table: str, runs: Path) -> dict[str, Filled]:
    return {found.cell.name: found for found in fill(load_table(table), find_runs([runs]), "final") if found.groups}


@pytest.mark.parametrize(
    ("table", "weights", "row"),
    [
        ("3", "dino_vit_base_patch16", "DINO, B"),
        ("3", "files/dino_vitbase16_pretrain.pth", "DINO, B"),
        ("3", "mocov3_vit_base", "MoCo v3, B"),
        ("3", "vit-b-300ep.pth.tar", "MoCo v3, B"),
        ("4", "mocov3_vit_base", "MoCo v3, box B"),
        ("4", SCRATCH, "supervised, mask B"),
        ("5", "mocov3_vit_base", "MoCo v3, B"),
        ("5", SCRATCH, "supervised, B"),
    ],
)
def test_released_weights_fill_the_row_of_their_pre_training_alone(
    table: str, weights: str, row: str, tmp_path: Path
) -> None:
    ended(tmp_path / "0", table, weights)
    found = places(table, tmp_path)
    assert row in found
    assert len(found) == len(METRICS[table])
    assert all(place.own is not None for place in found.values())


def test_a_recorded_pre_training_chooses_the_row_and_an_unknown_file_stays_a_difference(tmp_path: Path) -> None:
    ended(tmp_path / "0", "3", "mine.pth", pretraining="moco_v3")
    (place,) = places("3", tmp_path).values()
    assert place.cell.name == "MoCo v3, B"
    assert place.own is None
    assert [(item.key, item.run) for item in place.groups[0].differs] == [("model.weights", "mine.pth")]


def test_a_row_whose_weights_were_never_released_takes_any_and_says_which(tmp_path: Path) -> None:
    for seed, weights in enumerate(("a/beit.pth", "b/beit.pth")):
        ended(tmp_path / str(seed), "3", weights, seed=seed, pretraining="beit")
    (place,) = places("3", tmp_path).values()
    assert place.cell.name == "BEiT, with DALL-E's tokens, B"
    assert {group.origin for group in place.groups} == {"a/beit.pth", "b/beit.pth"}
    assert all(len(group.samples) == 1 and not group.differs for group in place.groups)


def test_the_backbone_follows_from_the_weights_but_another_size_is_a_difference(tmp_path: Path) -> None:
    beit, small = {"model.backbone": "vit_base_patch16_beit"}, {"model.backbone": "vit_small_patch16_beit"}
    ended(tmp_path / "base", "3", "beit.pth", pretraining="beit", changed=beit)
    ended(tmp_path / "small", "3", "beit.pth", pretraining="beit", changed=small)
    (place,) = places("3", tmp_path).values()
    own, other = place.groups
    assert own.samples[0].run.folder.name == "base"
    assert [(item.key, item.run) for item in other.differs] == [("model.backbone", "vit_small_patch16_beit")]


def test_a_pre_training_without_a_row_fills_none_and_is_said(tmp_path: Path) -> None:
    ended(tmp_path / "0", "3", "dinov2_vit_base", pretraining="dinov2")
    assert places("3", tmp_path) == {}
    (one,) = unused([load_table("3")], find_runs([tmp_path]), "final")
    assert one.reason == "no cell of recipe base is of weights pre-trained as dinov2"


def test_weights_of_which_nothing_is_known_stay_in_the_recipes_own_row(tmp_path: Path) -> None:
    ended(tmp_path / "0", "5", "mine.pth")
    (place,) = places("5", tmp_path).values()
    assert (place.cell.name, place.own) == ("MAE, B", None)


def test_other_rows_are_missing_only_where_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--table", "5", "--missing"]) == 0
    own = capsys.readouterr().out.splitlines()
    assert main(["reproduce", "--table", "5", "--missing", "--comparisons"]) == 0
    every = capsys.readouterr().out.splitlines()
    assert len(own) == 2
    assert len(every) == 8
    assert set(own) < set(every)
    assert f"maekit fit --task ade20k_upernet --recipe base --data.root $ADE --model.weights {SCRATCH}" in every
    assert main(["reproduce", "--table", "5", "--missing", "--row", "MoCo v3", "--column", "L"]) == 0
    command = "maekit fit --task ade20k_upernet --recipe large --data.root $ADE --model.weights $MOCOV3_LARGE\n"
    assert capsys.readouterr().out == command


def test_weights_that_were_never_released_are_asked_for_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADE", "/ade")
    monkeypatch.delenv("MOCOV3_LARGE", raising=False)
    assert main(["reproduce", "--table", "5", "--row", "MoCo v3", "--column", "L", "--run"]) == 2
    ways = "give --model.weights FILE, or export MOCOV3_LARGE=FILE (Table 5: MoCo v3, L)"
    assert capsys.readouterr().err == f"maekit: $MOCOV3_LARGE is not set; {ways}\n"


def test_a_run_records_the_pre_training_of_its_weights_and_keeps_it_when_resumed(tmp_path: Path) -> None:
    values = {"data.root": str(few_digits()), "data.total_batch_size": 16, "data.device_batch_size": 16}
    values |= {"data.num_workers": 0, "trainer.max_steps": 2, "run.folder": str(tmp_path)}
    first = build("imagenet_linprobe", "smoke", {**values, "run.stop_at_step": 1}).fit()
    folder = Path(first["folder"])
    assert read_run(folder).pretraining == "mae"  # of mae_vit_smoke, which comes with the package
    build("imagenet_linprobe", "smoke", values).fit(ckpt_path=folder)
    assert read_run(folder).pretraining == "mae"
