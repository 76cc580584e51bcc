"""Which runs fill which cells: nothing invented, nothing averaged that is not alike."""

import json
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
import yaml

from maekit.paper.fill import Filled, fill, targets, unused, verdict
from maekit.paper.tables import Cell, load_table
from maekit.runs.find import find_runs
from maekit.runs.read import read_run
from tests.paper.helpers import make_run

BASE, LARGE, HUGE = (f"mae_pretrain_vit_{size}.pth" for size in ("base", "large", "huge"))
FIG9 = "runs/mae_pretrain/large_pixels_800ep/0/last.ckpt"


def places(name: str, runs: Path, which: str = "final") -> dict[str, Filled]:
    """The cells of a table that have runs."""
    return {f.cell.name: f for f in fill(load_table(name), find_runs([runs]), which) if f.groups}


def reasons(name: str, runs: Path, which: str = "final") -> dict[str, str]:
    return {one.run.folder.name: one.reason for one in unused([load_table(name)], find_runs([runs]), which)}


def finetuned(folder: Path, top1: Any, **given: Any) -> Path:
    given = {"weights": BASE, **given}
    return make_run(folder, "imagenet_finetune", "base", {"top1": top1, "loss": 0.7}, **given)


def cell(table: str, name: str) -> Cell:
    return next(cell for cell in load_table(table).cells if cell.name == name)


def test_seeds_are_averaged_in_the_cell_of_their_recipe(tmp_path: Path) -> None:
    for seed, value in enumerate((83.46, 83.52, 83.66)):
        finetuned(tmp_path / str(seed), value, seed=seed)
    found = places("3", tmp_path)
    assert list(found) == ["MAE, 1600 epochs on normalised pixels, B"]
    (group,) = next(iter(found.values())).groups
    assert group.mean == pytest.approx((83.46 + 83.52 + 83.66) / 3)
    assert group.std == pytest.approx(stdev([83.46, 83.52, 83.66]))
    assert sorted(group.by_key) == ["0", "1", "2"]
    assert group.verdict == "within"
    assert group.difference == pytest.approx(group.mean - 83.6)
    assert reasons("3", tmp_path) == {}


def test_two_runs_of_one_seed_count_once(tmp_path: Path) -> None:
    for name, seed, value in (("a", 0, 83.0), ("b", 0, 84.0), ("c", 1, 83.9)):
        finetuned(tmp_path / name, value, seed=seed)
    (found,) = places("3", tmp_path).values()
    assert found.groups[0].by_key == {"0": 83.5, "1": 83.9}
    assert len(found.groups[0].samples) == 3


def test_runs_of_other_hyper_parameters_stand_apart_and_get_no_verdict(tmp_path: Path) -> None:
    finetuned(tmp_path / "own", 83.6)
    finetuned(tmp_path / "decay", 83.6, seed=1, changed={"optim.layer_decay": 0.75})
    finetuned(tmp_path / "clip", 83.6, seed=2, changed={"trainer.gradient_clip_val": 1.0})
    (found,) = places("3", tmp_path).values()
    own, *others = found.groups
    assert found.own is own
    assert [one.run.folder.name for one in own.samples] == ["own"]
    assert {(d.key, d.recipe, d.run) for group in others for d in group.differs} == {
        ("optim.layer_decay", 0.65, 0.75),
        ("trainer.gradient_clip_val", None, 1.0),
    }
    assert [(group.verdict, group.margin) for group in others] == [("differs", None)] * 2


def test_a_cell_with_only_differing_runs_is_not_filled(tmp_path: Path) -> None:
    finetuned(tmp_path / "decay", 83.6, changed={"optim.layer_decay": 0.75})
    (found,) = places("3", tmp_path).values()
    assert found.own is None


@pytest.mark.parametrize("weights", ["other.pth", "none", None, "hf:facebook/vit-mae-base", "mae_vit_large"])
def test_other_weights_are_a_difference(tmp_path: Path, weights: str | None) -> None:
    finetuned(tmp_path / "0", 83.6, weights=weights)
    (found,) = places("3", tmp_path).values()
    assert [(d.key, d.run) for d in found.groups[0].differs] == [("model.weights", weights)]
    assert found.own is None


@pytest.mark.parametrize(
    "weights", ["mae_vit_base", "/data/mae/mae_pretrain_vit_base.pth", "mae_pretrain_vit_base_full"]
)
def test_the_released_weights_by_any_of_their_names_are_none(tmp_path: Path, weights: str) -> None:
    finetuned(tmp_path / "0", 83.6, weights=weights)
    (found,) = places("3", tmp_path).values()
    assert found.own is not None


def test_a_recipe_that_changed_since_the_run_is_a_difference(tmp_path: Path) -> None:
    """The run kept to the recipe of its day, which is not that of today."""
    folder = finetuned(tmp_path / "0", 83.6, changed={"optim.layer_decay": 0.7})
    environment = json.loads((folder / "environment.json").read_text())
    environment["recipe_values"]["optim.layer_decay"] = 0.7
    (folder / "environment.json").write_text(json.dumps(environment))
    (found,) = places("3", tmp_path).values()
    assert [(d.key, d.recipe, d.run) for d in found.groups[0].differs] == [("optim.layer_decay", 0.65, 0.7)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "paused": ({"status": "paused", "step": 7}, "paused at step 7"),
    "interrupted": ({"status": "interrupted"}, "unfinished: metrics.json does not say it"),
    "nan": ({"top1": None}, "its top1 is not a number"),
    "word": ({"top1": "83.6"}, "its top1 is not a number"),
    "data": ({"classes": 100}, "its data have 100 classes, the paper's 1,000"),
    "part": (
        {"changed": {"trainer.limit_val_batches": 2}},
        "measured on a part of the images (trainer.limit_val_batches 2)",
    ),
    "made": (
        {"changed": {"data.synthetic": "digits", "data.root": None}},
        "made data (data.synthetic digits), not the paper's",
    ),
    "validated": ({"status": "validated"}, f"no cell is of an evaluation of {BASE}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_without_a_result_of_its_own_fills_nothing(tmp_path: Path, name: str) -> None:
    given, reason = REFUSED[name]
    given = dict(given)
    finetuned(tmp_path / name, given.pop("top1", 83.6), **given)
    assert places("3", tmp_path) == {}
    assert reasons("3", tmp_path) == {name: reason}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("metrics.json", "unfinished: metrics.json is missing"),
        ("config.yaml", "config.yaml is missing, so its data and hyper-parameters are not known"),
        ("classes.txt", "classes.txt is missing, so its data are not known"),
    ],
)
def test_a_run_that_lacks_a_file_fills_nothing(tmp_path: Path, file: str, reason: str) -> None:
    (finetuned(tmp_path / "0", 83.6) / file).unlink()
    assert places("3", tmp_path) == {}
    assert reasons("3", tmp_path) == {"0": reason}


def test_a_run_cut_off_in_the_middle_fills_nothing(tmp_path: Path) -> None:
    for name in ("metrics.json", "config.yaml"):
        file = finetuned(tmp_path / name, 83.6) / name
        file.write_text(file.read_text()[:25] + ": [")
    file = finetuned(tmp_path / "lines", 83.6) / "config.yaml"
    file.write_text(file.read_text().partition("model:")[0])  # whole YAML still, without the hyper-parameters
    assert places("3", tmp_path) == {}
    assert reasons("3", tmp_path) == {
        "lines": "config.yaml lacks model.backbone, so it is cut off or damaged",
        "config.yaml": "config.yaml is cut off or damaged, so its data and hyper-parameters are not known",
        "metrics.json": "unfinished: metrics.json is cut off or damaged",
    }


def test_a_run_measured_on_a_part_of_the_validation_images_fills_nothing(tmp_path: Path) -> None:
    folder = finetuned(tmp_path / "0", 83.6)
    classes = [{"name": str(i), "value": 80.0, "more": None, "images": 50} for i in range(1000)]
    (folder / "per_class.json").write_text(json.dumps({"metric": "top1", "classes": classes}))
    assert len(places("3", tmp_path)) == 1
    classes[0]["images"] = 49
    (folder / "per_class.json").write_text(json.dumps({"metric": "top1", "classes": classes}))
    assert reasons("3", tmp_path) == {"0": "measured on 49,999 images, the paper's are 50,000"}


def test_a_run_that_ended_before_its_last_step_fills_nothing(tmp_path: Path) -> None:
    folder = finetuned(tmp_path / "0", 83.6, step=1000)
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**environment, "total_steps": 125100}))
    assert reasons("3", tmp_path) == {"0": "it stopped at step 1000 of 125100"}


def test_smoke_and_other_tasks_are_said(tmp_path: Path) -> None:
    make_run(tmp_path / "toy", "ade20k_upernet", "smoke", {"mIoU": 67.0}, classes=11)
    finetuned(tmp_path / "other", 83.6)
    assert places("5", tmp_path) == {}
    assert reasons("5", tmp_path) == {
        "toy": "no cell is of recipe smoke, a toy and not the paper's data",
        "other": "no cell is of task imagenet_finetune",
    }


def test_the_year_makes_the_cell_and_the_class_count_stands_for_it(tmp_path: Path) -> None:
    task = "inaturalist_finetune"
    make_run(tmp_path / "said", task, "base", {"top1": 75.0}, weights=BASE, classes=8142, changed={"data.year": 2018})
    make_run(tmp_path / "unsaid", task, "base", {"top1": 80.0}, weights=BASE, classes=1010)
    make_run(tmp_path / "neither", task, "base", {"top1": 1.0}, weights=BASE, classes=10)
    found = places("6", tmp_path)
    assert {name: place.own.mean for name, place in found.items() if place.own} == {
        "iNaturalist 2018, B": 75.0,
        "iNaturalist 2019, B": 80.0,
    }
    assert reasons("6", tmp_path) == {"neither": "no cell is of data.year null"}


def test_both_metrics_of_a_detection_fill_both_cells(tmp_path: Path) -> None:
    val = {"box_AP": 51.5, "mask_AP": 45.8}
    make_run(tmp_path / "vitdet", "coco_maskrcnn", "base", val, weights=BASE, classes=80)
    make_run(tmp_path / "table4", "coco_maskrcnn", "table4_base", val, weights=BASE, classes=80)
    found = places("4", tmp_path)
    assert {name: (g.mean, g.verdict) for name, place in found.items() for g in place.groups} == {
        "MAE, box B": (51.5, "no published seed noise"),
        "MAE, mask B": (45.8, "no published seed noise"),
        "MAE by ViTDet's recipe, detectron2, box B": (51.5, "within"),
        "MAE by ViTDet's recipe, detectron2, mask B": (45.8, "no published seed noise"),
    }


def test_two_recipes_of_one_cell_are_not_averaged(tmp_path: Path) -> None:
    for recipe, value in (("base", 48.0), ("base_100ep", 47.0)):
        make_run(tmp_path / recipe, "ade20k_upernet", recipe, {"mIoU": value}, weights=BASE, classes=150)
    (found,) = places("5", tmp_path).values()
    assert [(group.recipe, group.mean) for group in found.groups] == [("base", 48.0), ("base_100ep", 47.0)]


def test_the_number_of_blocks_makes_the_point_of_the_figure(tmp_path: Path) -> None:
    for blocks, value in ((0.5, 79.0), (4, 84.0), (3, 83.0)):
        changed = {"model.tuned_blocks": blocks}
        make_run(tmp_path / f"{blocks}", "imagenet_partial", "large", {"top1": value}, weights=FIG9, changed=changed)
    make_run(tmp_path / "probe", "imagenet_linprobe", "large", {"top1": 73.0}, weights=FIG9)
    make_run(tmp_path / "released", "imagenet_linprobe", "large", {"top1": 76.0}, seed=1, weights=LARGE)
    found = places("fig9", tmp_path)
    assert {name: place.own.mean for name, place in found.items() if place.own} == {
        "MAE, 0": 73.0,
        "MAE, 0.5": 79.0,
        "MAE, 4": 84.0,
    }
    assert [d.key for d in found["MAE, 0"].groups[1].differs] == ["model.weights"]
    assert reasons("fig9", tmp_path) == {"3": "no cell is of model.tuned_blocks 3"}


def test_an_average_of_the_weights_makes_the_row_from_scratch(tmp_path: Path) -> None:
    for name, decay, value in (("with", 0.9999, 82.2), ("without", None, 82.0)):
        changed = {"model.ema_decay": decay}
        make_run(tmp_path / name, "imagenet_scratch", "base", {"top1": value}, weights="none", changed=changed)
    found = places("11", tmp_path)
    assert {name: place.own.mean for name, place in found.items() if place.own} == {
        "with an average of the weights, B": 82.2,
        "without, B": 82.0,
    }
    (third,) = places("3", tmp_path).values()
    assert [len(group.differs) for group in third.groups] == [0, 1]


def evaluated(folder: Path, weights: str, value: float, **given: Any) -> Path:
    val = {"a_top1": value, "c_mce_alexnet": 51.0}
    return make_run(folder, "imagenet_robustness", "base", val, weights=weights, status="validated", **given)


def test_evaluations_fill_the_robustness_table_by_their_weights(tmp_path: Path) -> None:
    evaluated(tmp_path / "released", "mae_finetuned_vit_base.pth", 36.4)
    for seed in (0, 1):
        evaluated(tmp_path / f"own{seed}", f"runs/imagenet_finetune/base/{seed}/best.ckpt", 35.0 + seed)
    evaluated(tmp_path / "unknown", "/somewhere/model.pth", 99.0)
    found = places("13", tmp_path)
    assert list(found) == ["ImageNet-C (mCE), B", "ImageNet-A, B"]
    released, own = found["ImageNet-A, B"].groups
    if released.origin != "mae_finetuned_vit_base":
        released, own = own, released
    assert (released.mean, own.mean, len(own.by_key)) == (36.4, 35.5, 2)
    assert reasons("13", tmp_path) == {"unknown": "no cell is of an evaluation of /somewhere/model.pth"}


def test_what_an_evaluated_checkpoint_was_trained_with_is_said(tmp_path: Path) -> None:
    changed = {"optim.layer_decay": 0.75}
    run = finetuned(tmp_path / "imagenet_finetune" / "base" / "0", 83.0, changed=changed)
    evaluated(tmp_path / "robust", str(run / "best.ckpt"), 35.0)
    group = places("13", tmp_path)["ImageNet-A, B"].groups[0]
    assert [(d.key, d.recipe, d.run) for d in group.differs] == [("optim.layer_decay of its training", 0.65, 0.75)]


def test_the_released_files_have_their_own_row(tmp_path: Path) -> None:
    folder = finetuned(tmp_path / "0", 83.66, weights="mae_finetuned_vit_base.pth", status="validated")
    (folder / "classes.txt").unlink()
    assert list(places("3", tmp_path)) == ["MAE, released fine-tuned files, B"]


def test_best_is_that_of_metrics_json_and_of_no_other_metric(tmp_path: Path) -> None:
    best = {"metric": "val/box_AP", "value": 52.0, "step": 10}
    val = {"box_AP": 51.5, "mask_AP": 45.8}
    make_run(tmp_path / "0", "coco_maskrcnn", "base", val, weights=BASE, classes=80, best=best)
    assert [p.groups[0].mean for p in places("4", tmp_path, "best").values()] == [52.0]
    make_run(tmp_path / "1", "coco_maskrcnn", "large", val, weights=LARGE, classes=80, best=None)
    assert reasons("4", tmp_path, "best") == {"1": "metrics.json has no best box_AP; metrics.json has no best mask_AP"}


@pytest.mark.parametrize(
    ("values", "margin", "word"),
    [
        ([83.37], 2 * (2 * 0.08**2) ** 0.5, "below"),  # margin 0.226: the single run's own noise is the published
        ([83.38], 2 * (2 * 0.08**2) ** 0.5, "within"),
        ([83.83], 2 * (2 * 0.08**2) ** 0.5, "above"),
        ([83.4, 83.4], 2 * 0.08, "below"),  # two equal values: a deviation of 0
        ([83.4, 83.5, 83.6], 2 * (0.08**2 + 0.1**2 / 3) ** 0.5, "within"),
    ],
)
def test_the_verdict_is_twice_the_standard_error(values: list[float], margin: float, word: str) -> None:
    place = cell("3", "MAE, 1600 epochs on normalised pixels, B")
    got, said = verdict(place, values, differs=False)
    assert got == pytest.approx(margin)
    assert said == word


def test_there_is_no_verdict_without_noise_or_with_a_difference() -> None:
    huge = cell("3", "MAE, 1600 epochs on normalised pixels, H")
    assert verdict(huge, [86.9], differs=False) == (None, "no published seed noise")
    base = cell("3", "MAE, 1600 epochs on normalised pixels, B")
    assert verdict(base, [83.6], differs=True) == (None, "differs")


def test_a_config_written_by_hand_is_compared_with_the_recipe_all_the_same(tmp_path: Path) -> None:
    """A folder without environment.json, in its usual place: task and recipe by the path, differences by the recipe."""
    folder = finetuned(tmp_path / "imagenet_finetune" / "base" / "0", 83.6)
    (folder / "environment.json").unlink()
    (found,) = places("3", tmp_path).values()
    assert found.own is not None
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["mixup"] = 0.0
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (found,) = places("3", tmp_path).values()
    assert [d.key for d in found.groups[0].differs] == ["model.mixup"]


def test_a_report_can_ask_what_a_run_is_compared_with(tmp_path: Path) -> None:
    run = read_run(finetuned(tmp_path / "0", 83.5))
    ((place, group),) = targets(run)
    assert (place.table, place.published.value, group.mean, group.verdict) == ("3", 83.6, 83.5, "within")
    toy = make_run(tmp_path / "1", "imagenet_finetune", "smoke", {"top1": 99.0})
    assert targets(read_run(toy)) == []
