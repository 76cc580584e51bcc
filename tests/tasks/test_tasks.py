"""Every shipped task, found by itself: its recipes parse and build, and the user's own commands run."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from maekit.base.checkpoint_card import read_card
from maekit.cli import main
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe, recipe_names
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task, shipped_tasks

TASKS = [task.name for task in shipped_tasks() if not task.load().Model.evaluates_only]
EVALUATIONS = [task.name for task in shipped_tasks() if task.load().Model.evaluates_only]
RECIPES = [(task.name, name) for task in shipped_tasks() for name in recipe_names(task)]
QUICK = ("--trainer.max_steps=3", "--trainer.limit_val_batches=2")


def test_there_are_tasks_and_recipes() -> None:
    assert TASKS
    assert len(RECIPES) >= 5 * len(TASKS)


@pytest.mark.parametrize(("task", "name"), RECIPES)
def test_every_recipe_builds_its_model(task: str, name: str) -> None:
    recipe = load_recipe(find_task(task), name)
    module = recipe.task.load()
    settings = resolve(recipe, module, [], training=True)
    with torch.device("meta"):
        model = module.Model.build(module.Data(**settings.values["data"]).assumed_spec(), settings.values["model"])
    total = settings.values["data"]["total_batch_size"]
    if model.evaluates_only:
        assert "optim" not in settings.values
        return
    chosen = Optimisation(**settings.values["optim"])
    rows = chosen.rows(model, model.backbone, total)
    assert {row.name for row in rows} == {key for key, p in model.named_parameters() if p.requires_grad}
    top = model.backbone.num_blocks + 1
    trained = {model.backbone.layer_of(key) for key, p in model.backbone.named_parameters() if p.requires_grad} | {top}
    assert {row.layer for row in rows} == trained == set(range(min(trained), top + 1))
    factor = chosen.factor(total_steps=1000, steps_per_epoch=10)
    assert 0 <= factor(0, {"peak_lr": 1.0, "lr_scale": 1.0, "lr": 1.0}) <= 1


@pytest.mark.parametrize("task", TASKS)
def test_smoke_fit_validate_resume_predict(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task", task, "--recipe", "smoke", *QUICK]) == 0
    run = tmp_path / "runs" / task / "smoke" / "0"
    result = json.loads((run / "metrics.json").read_text())
    assert result["status"] == "finished"
    assert result["step"] == 3
    card = read_card(run / "last.ckpt")
    named = card.spec.target in ("classes", "labels", "grades")
    assert (run / "classes.txt").exists() == named == bool(card.spec.class_names)
    for name in ("config.yaml", "environment.json", "train.csv", "val.csv", "best.ckpt", "last.ckpt"):
        assert (run / name).stat().st_size > 0, name
    assert list((run / "tensorboard").glob("events*"))
    assert read_card(run / "last.ckpt").step == 3
    capsys.readouterr()

    assert main(["validate", "--ckpt_path", str(run / "last.ckpt"), "--json", QUICK[1]]) == 0
    validated = json.loads(capsys.readouterr().out)  # nothing else is printed there
    with (run / "val.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    logged = {key: float(last[key]) for key in validated}  # nan in the table is null in JSON
    assert {key: None if math.isnan(value) else value for key, value in logged.items()} == validated

    flags = [flag for flag in QUICK if "max_steps" not in flag]
    more = ["fit", "--task", task, "--recipe", "smoke", "--ckpt_path", "last", "--trainer.max_steps=5", *flags]
    assert main(more) == 2  # it has finished, and nobody asked for more
    assert "--run.extend true" in capsys.readouterr().err
    assert main([*more, "--run.extend", "true"]) == 0
    assert read_card(run / "last.ckpt").step == 5
    assert not (run.parent / "1").exists()


@pytest.mark.parametrize("task", EVALUATIONS)
def test_smoke_validate_of_a_task_that_evaluates_only(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task", task, "--recipe", "smoke", "--model.weights", "none"]) == 2
    assert "maekit validate" in capsys.readouterr().err
    command = ["validate", "--task", task, "--recipe", "smoke", "--model.weights", "none", "--json", QUICK[1]]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not (tmp_path / "runs").exists()
