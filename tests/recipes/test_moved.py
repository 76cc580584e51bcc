"""Keys of earlier versions: old configurations in today's form, and what an old key is answered with."""

from dataclasses import fields
from typing import Any

import pytest

from maekit.optim.settings import Optimisation
from maekit.recipes.moved import OPTIM, in_todays_form, moved_key, todays_values
from maekit.system.plain import JSON

OLD: dict[str, Any] = {
    "model": {"backbone": "vit_test_patch8", "base_lr": 1e-3, "lr": None, "schedule": "cosine", "betas": [0.9, 0.95]},
    "data": {"root": "/d"},
    "run": {"seed": 1},
}


def test_every_setting_of_the_optimizer_is_one_that_moved() -> None:
    assert set(OPTIM) == {field.name for field in fields(Optimisation)}


def test_an_old_configuration_gets_the_section_of_the_optimizer() -> None:
    today = in_todays_form(OLD)
    assert list(today) == ["model", "optim", "data", "run"]
    assert today["model"] == {"backbone": "vit_test_patch8"}
    assert today["optim"] == {
        "layer_decay": 1.0, "base_lr": 1e-3, "lr": None, "schedule": "cosine", "betas": [0.9, 0.95]
    }  # fmt: skip
    assert in_todays_form(today) == today
    assert OLD["model"]["base_lr"] == 1e-3, "the old one is left as it is"


def test_one_that_was_never_trained_gets_none() -> None:
    evaluated = {"model": {"backbone": "vit_test_patch8", "pooling": "mean"}}
    assert in_todays_form(evaluated) == evaluated


@pytest.mark.parametrize("name", OPTIM)
def test_an_old_key_names_the_new_one(name: str) -> None:
    assert f"optim.{name}" in moved_key(f"model.{name}")


@pytest.mark.parametrize("key", ["model.backbone", "data.lr", "lr", "optim.lr"])
def test_others_have_not_moved(key: str) -> None:
    assert moved_key(key) == ""


@pytest.mark.parametrize(("tuned", "freeze"), [(False, "backbone"), (True, None)])
def test_a_linear_heads_tuned_backbone_is_what_freeze_says_today(tuned: bool, freeze: str | None) -> None:
    old: dict[str, Any] = {"model": {"tune_backbone": tuned, "dropout": 0.1}, "optim": {"lr": 1.0}}
    assert in_todays_form(old) == {"model": {"dropout": 0.1, "freeze": freeze}, "optim": {"lr": 1.0}}
    assert todays_values({"model.tune_backbone": tuned, "model.lr": 1.0}) == {"model.freeze": freeze, "optim.lr": 1.0}
    own: dict[str, Any] = {
        "model": {"tune_backbone": tuned, "freeze": None},
        "optim": {"lr": 1.0},
    }  # of a task of one's own, today
    assert in_todays_form(own) == own


def test_a_tasks_own_tune_backbone_beside_freeze_stays() -> None:
    values: dict[str, JSON] = {"model.tune_backbone": True, "model.freeze": "backbone"}
    assert todays_values(values) == values
    assert todays_values({"model.tune_backbone": True}) == {"model.freeze": None}
