"""What is said of settings before a run trains: flags that change nothing, schedules that never get to their parts."""

from typing import Any

import pytest

import maekit
from maekit.recipes.notes import setting_notes
from tests.conftest import few_digits


def notes(steps: int = 10, **flags: Any) -> list[str]:
    """The lines for a run of so many steps, five an epoch, with a warm-up of two epochs and a peak of 2e-3."""
    values = {key.replace("__", "."): value for key, value in flags.items()}
    values |= {"data.root": few_digits(), "model.weights": "none"}
    return setting_notes(maekit.build("imagenet_finetune", "smoke", values).settings, 16, steps, 5)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"optim__momentum": 0.5}, "--optim.momentum 0.5 changes nothing: optim.optimizer is adamw"),
        ({"optim__power": 2}, "optim.schedule is cosine, not poly"),
        ({"optim__gamma": 0.5}, "optim.schedule is cosine, not multistep"),
        ({"optim__warmup_start": 0.1, "optim__warmup_epochs": 0}, "optim.warmup_epochs"),
        ({"model__mix_probability": 0.5}, "model.mixup"),
        ({"model__mix_switch_probability": 0.1, "model__mixup": 0.8}, "model.cutmix is 0.0"),
        ({"data__synthetic": "digits"}, "--data.synthetic digits changes nothing: data.root is "),
        ({"trainer__gradient_clip_algorithm": "value"}, "trainer.gradient_clip_val is null"),
    ],
)
def test_a_flag_that_changes_nothing_is_said(flags: dict[str, Any], why: str) -> None:
    lines = notes(steps=50, **flags)
    assert len(lines) == 1 and why in lines[0]


def test_flags_that_are_used_are_not_said() -> None:
    used = {"optim__optimizer": "sgd", "optim__momentum": 0.5, "optim__schedule": "poly", "optim__power": 2}
    mixing = {"model__mixup": 0.8, "model__cutmix": 1, "model__mix_switch_probability": 0.1}
    assert (
        notes(steps=50, **used, **mixing, trainer__gradient_clip_val=1, trainer__gradient_clip_algorithm="norm") == []
    )


@pytest.mark.parametrize(
    ("steps", "flags", "fact"),
    [
        (10, {}, "the warm-up takes 10 steps and the run 10: the learning rate ends at 0.0018, its peak of 0.002"),
        (
            50,
            {"optim__schedule": "multistep", "optim__milestones": [20, 50, 60]},
            "milestones 50, 60 are never reached",
        ),
        (50, {"optim__min_lr": 0.1}, "optim.min_lr 0.1 is above the peak learning rate of 0.002"),
    ],
)
def test_a_schedule_that_the_run_does_not_get_to_is_said(steps: int, flags: dict[str, Any], fact: str) -> None:
    lines = notes(steps=steps, **flags)
    assert len(lines) == 1 and fact in lines[0]
