"""A study's definition: saved and read back, compared, and made from a command's arguments by the task's own checks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maekit.data.digits import digits_root
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe, read_yaml, recipe_names
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task, shipped_tasks
from maekit.study.define.define import Request, define
from maekit.study.define.definition import Definition
from maekit.study.define.presets import PRESETS_FILE, find_preset
from maekit.study.define.space import Choice, Interval

TASK = "imagenet_finetune"
DECAY = "optim.layer_decay"


def made(**changes: Any) -> Definition:
    values: dict[str, Any] = {
        "name": "decay",
        "task": TASK,
        "recipe": "smoke",
        "config": ("a.yaml",),
        "flags": ("--data.root", "photos"),
        "space": (Choice(DECAY, (0.65, 1.0)), Choice("optim.betas", ([0.9, 0.95], None))),
        "seeds": (0, 1),
        "sampler": "grid",
        "num_cells": None,
        "pruning": "none",
        "reduction": 3,
        "metric": "val/top1",
        "mode": "max",
        "max_steps": 100,
        "num_images": 1600,
        "fixed": {"data.total_batch_size": 32, "trainer.max_epochs": 2, "model.drop_path": 0.1},
    }
    return Definition(**{**values, **changes})


def asked(*grids: str, **changes: Any) -> Definition:
    task = find_task(changes.pop("task", TASK))
    recipe = load_recipe(task, changes.pop("recipe", "smoke"))
    values: dict[str, Any] = {
        "config": (),
        "flags": (),
        "grids": grids,
        "ranges": (),
        "preset": None,
        "seeds": (0, 1),
        "sampler": "grid",
        "num_cells": None,
        "pruning": "none",
        "reduction": 3,
        "name": None,
    }
    return define(Request(recipe=recipe, **{**values, **changes}), task.load())


def test_a_definition_reads_back_from_json_as_it_was() -> None:
    drawn = made(space=(Interval("optim.lr", 1e-4, 1e-2, log=True),), sampler="tpe", num_cells=7, pruning="median")
    for definition in (made(), drawn):
        assert Definition.from_json(json.loads(json.dumps(definition.as_json()))) == definition


@pytest.mark.parametrize(
    "broken", [{}, {"name": "x"}, {**made().as_json(), "more": 1}, {**made().as_json(), "space": [{}]}]
)
def test_values_that_are_no_definition(broken: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="definition cannot be read"):
        Definition.from_json(broken)


def test_runs_are_counted_cell_by_cell_the_seeds_fastest() -> None:
    runs = made().runs()
    assert len(runs) == 8
    assert runs[:3] == [
        ({DECAY: 0.65, "optim.betas": [0.9, 0.95]}, (0, None)),
        ({DECAY: 0.65, "optim.betas": [0.9, 0.95]}, (1, None)),
        ({DECAY: 0.65, "optim.betas": None}, (0, None)),
    ]
    folded = made(folds=2).runs()
    assert [repeat for _, repeat in folded[:4]] == [(0, "1/2"), (0, "2/2"), (1, "1/2"), (1, "2/2")]
    assert made(folds=2).full_steps() == 2 * made().full_steps()
    assert any("folds" in line for line in made().differences(made(folds=2)))
    old = {key: value for key, value in made().as_json().items() if key != "folds"}  # of an earlier version
    assert Definition.from_json(old) == made()


def test_steps_follow_the_epochs_and_the_batch_of_the_cell() -> None:
    definition = made()
    assert definition.steps_of({}) == 2 * (1600 // 32)
    assert definition.steps_of({"trainer.max_epochs": 3, "data.total_batch_size": 60}) == 3 * (1600 // 60)
    assert definition.steps_of({"trainer.max_steps": 7}) == 7
    assert definition.full_steps() == 4 * 2 * 100
    drawn = made(space=(Interval("optim.lr", 0.1, 1.0),), sampler="random", num_cells=5)
    assert drawn.full_steps() == 5 * 2 * 100


def test_nothing_differs_where_only_places_do() -> None:
    moved = made(
        flags=("--data.root", "other"), config=("elsewhere/a.yaml",), name="again", task=f"somewhere/{TASK}.py"
    )
    assert made().differences(moved) == []


def test_each_change_is_one_line() -> None:
    fixed = {**made().fixed, "model.drop_path": 0.2, "model.new": True}
    now = made(fixed=fixed, seeds=(0, 1, 2), num_images=10, space=(Choice(DECAY, (0.65, 0.9)),))
    assert made().differences(now) == [
        "seeds: [0,1] in the study, [0,1,2] now",
        "training images: 1600 in the study, 10 now",
        f"{DECAY}: [0.65,1.0] in the study, [0.65,0.9] now",
        "optim.betas: [[0.9,0.95],null] in the study, nothing now",
        "model.drop_path: 0.1 in the study, 0.2 now",
        "model.new: nothing in the study, true now",
    ]
    assert made().differences(made(pruning="halving")) == [
        "pruner: none in the study, halving now",
        "reduction: nothing in the study, 3 now",
    ]


def test_a_study_of_a_real_recipe() -> None:
    definition = asked(f"{DECAY}=0.65,1", "optim.betas=[0.9,0.95],[0.9,0.999]", flags=("--trainer.max_epochs", "2"))
    assert definition.space == (Choice(DECAY, (0.65, 1.0)), Choice("optim.betas", ([0.9, 0.95], [0.9, 0.999])))
    assert isinstance(definition.space[0].values[1], float)
    images = len(list((digits_root() / "train").rglob("*.*")))
    assert definition.num_images == images
    assert definition.max_steps == 2 * (images // 32)
    assert (definition.metric, definition.mode, definition.name) == ("val/top1", "max", "layer_decay-betas")
    settings = resolve(load_recipe(find_task(TASK), "smoke"), find_task(TASK).load(), [], training=True)
    for section, key in (("optim", "weight_decay"), ("data", "total_batch_size"), ("model", "weights")):
        assert definition.fixed[f"{section}.{key}"] == settings.values[section][key]
    assert not {DECAY, "optim.betas", "run.seed", "run.folder", "data.num_workers"} & set(definition.fixed)
    assert Definition.from_json(json.loads(json.dumps(definition.as_json()))) == definition


def test_cells_are_compared_by_the_metric_that_a_flag_chooses() -> None:
    flags = ("--model.metrics=top1,calibration_error", "--model.monitor=calibration_error")
    definition = asked("model.drop_path=0,0.1", flags=flags)
    assert (definition.metric, definition.mode) == ("val/calibration_error", "min")
    with pytest.raises(UserError, match=r"model\.monitor as a key of the study"):
        asked("model.monitor=top1,loss")


def test_a_changed_recipe_is_seen(tmp_path: Path) -> None:
    before = asked(f"{DECAY}=0.65,1")
    assert before.differences(asked(f"{DECAY}=0.65,1", flags=("--data.num_workers", "0"))) == []
    after = asked(f"{DECAY}=0.65,1", flags=("--optim.weight_decay", "0.1"))
    assert before.differences(after) == ["optim.weight_decay: 0.05 in the study, 0.1 now"]


def test_the_longest_cell_says_how_long_a_run_is() -> None:
    epochs = asked("trainer.max_epochs=1,3", "data.total_batch_size=32,64")
    images = epochs.num_images
    assert epochs.max_steps == 3 * (images // 32)
    assert epochs.full_steps() == 2 * 4 * (images // 32 + images // 64)


def test_ends_of_a_range_are_read_as_the_task_reads_them() -> None:
    drawn = asked(ranges=("optim.layer_decay=0.5:1",), sampler="random", num_cells=3)
    assert drawn.space == (Interval(DECAY, 0.5, 1.0),)
    rates = asked(ranges=("optim.weight_decay=0:1",), sampler="tpe", num_cells=3)
    assert isinstance(rates.space[0], Interval)
    assert not rates.space[0].whole


@pytest.mark.parametrize(
    ("grids", "changes", "facts"),
    [
        ([], {}, ["nothing to vary", "--grid", "--range", "--preset"]),
        (["model.layer_deca=1"], {}, ["'model.layer_deca'", "'optim.layer_decay'"]),
        (["model.layer_decay=1"], {}, ["'model.layer_decay'", "optim.layer_decay now"]),
        (["model.lr=1e-3,1e-4"], {}, ["'model.lr'", "optim.lr now"]),
        ([f"{DECAY}=abc"], {}, [DECAY, "'abc'", "a number"]),
        ([f"{DECAY}=1,1.5"], {}, [f"{DECAY}=1.5 to vary", "(0, 1]"]),
        ([f"{DECAY}=0.65,0.650"], {}, [DECAY, "got 0.65 twice"]),
        ([f"{DECAY}=1", f"{DECAY}=1"], {}, [f"{DECAY} twice"]),
        ([f"{DECAY}=1"], {"flags": (f"--{DECAY}=1",)}, [f"leave out --{DECAY}"]),
        (["optim.lr=1"], {}, ["got optim.lr", "optim.base_lr is 0.032", "--optim.base_lr null"]),
        (["optim.lr=1", "optim.base_lr=1"], {}, ["optim.base_lr", "optim.lr", "expected one of them"]),
        (["run.seed=1"], {}, ["run.seed", "--seeds 3"]),
        (["run.folder=a"], {}, ["run.folder", "model, optim, data or trainer"]),
        ([f"{DECAY}=1"], {"flags": ("--run.folder=a",)}, ["--run.folder", "--output"]),
        ([f"{DECAY}=1"], {"flags": ("--run.seed", "1")}, ["--run.seed", "--seeds"]),
        ([f"{DECAY}=1"], {"flags": ("--model.backbone", "vit_smok")}, ["'vit_smok'", "vit_smoke"]),
        (["data.image_size=0"], {}, ["data.image_size=0 to vary"]),
        (["data.total_batch_size=32,5000"], {}, ["1397 training images", "5000"]),
        (["trainer.max_epochs=1,2"], {"pruning": "halving"}, ["--pruner halving", "trainer.max_epochs"]),
        ([f"{DECAY}=1"], {"pruning": "halving", "flags": ("--run.patience=3",)}, ["--run.patience null"]),
        ([], {"ranges": (f"{DECAY}=0.5:1",)}, [f"a range of {DECAY}", f"--grid {DECAY}"]),
        (["model.weights=none"], {"task": "imagenet_robustness"}, ["maekit validate"]),
    ],
)
def test_what_is_refused_in_one_line(grids: list[str], changes: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        asked(*grids, **changes)
    line = str(caught.value)
    assert "\n" not in line
    assert [fact for fact in facts if fact not in line] == [], line


def test_a_rate_may_be_absolute_once_the_other_is_off() -> None:
    definition = asked("optim.lr=1e-3,1e-4", flags=("--optim.base_lr", "null"))
    assert definition.space == (Choice("optim.lr", (1e-3, 1e-4)),)


@pytest.mark.parametrize("task", [task.name for task in shipped_tasks()])
@pytest.mark.parametrize("name", list(read_yaml(PRESETS_FILE)))
def test_each_task_has_each_preset_or_a_reason(name: str, task: str) -> None:
    """A task without an entry has the one for any, as a user's own task; without that the refusal names the task."""
    entries = read_yaml(PRESETS_FILE)[name]
    entry = entries.get(task) or entries.get("any") or task
    if isinstance(entry, str):
        with pytest.raises(UserError) as caught:
            find_preset(name, find_task(task))
        assert f"--preset {name}" in str(caught.value) and entry in str(caught.value)
        return
    preset = find_preset(name, find_task(task))
    assert preset.grid
    assert len(preset.source) > 20
    assert all(len(values) > 1 for values in preset.grid.values())


@pytest.mark.parametrize("task", [task.name for task in shipped_tasks()])
def test_a_preset_is_of_the_rate_that_the_recipe_has(task: str) -> None:
    """Every key of a preset is one that the recipes set, and the published value is among the values somewhere."""
    for name in read_yaml(PRESETS_FILE):
        if not isinstance(read_yaml(PRESETS_FILE)[name].get(task), dict):
            continue
        grid = find_preset(name, find_task(task)).grid
        recipes = [
            load_recipe(find_task(task), recipe) for recipe in recipe_names(find_task(task)) if recipe != "smoke"
        ]
        for key, words in grid.items():
            section, _, last = key.partition(".")
            used = [recipe.values[section].get(last) for recipe in recipes]
            if key == "trainer.max_epochs":
                used = [epochs for epochs in used if epochs]
            assert not any(value is None for value in used), (name, key)
            assert {float(word) for word in words} & {float(value) for value in used if value is not None}, (name, key)


def test_a_preset_is_checked_like_any_grid_which_takes_its_place() -> None:
    preset = find_preset("layer_decay", find_task(TASK))
    whole = asked(preset=preset)
    assert whole.space == (Choice(DECAY, (0.55, 0.65, 0.75, 0.85, 1.0)),)
    assert (whole.name, whole.preset) == ("layer_decay", "layer_decay")
    own = asked(f"{DECAY}=0.5,0.6", "model.drop_path=0,0.1", preset=preset)
    assert own.space == (Choice(DECAY, (0.5, 0.6)), Choice("model.drop_path", (0.0, 0.1)))


def test_an_own_task_has_the_preset_for_any(tmp_path: Path) -> None:
    own = replace(find_task(TASK), name="mine")
    assert find_preset("layer_decay", own).grid[DECAY] == ["0.55", "0.65", "0.75", "0.85", "1.0"]
    with pytest.raises(UserError, match=r"^--preset paper: .*task mine"):
        find_preset("paper", own)
    with pytest.raises(UserError, match=r"^--preset: .*'papr'.*'paper'"):
        find_preset("papr", own)
