"""Every shipped task trains, or evaluates, in bf16-mixed and in 32-true, whichever of them the CPU prefers."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.api import Session, build
from maekit.recipes.tasks import shipped_tasks

pytestmark = pytest.mark.slow

TRAINED = [task.name for task in shipped_tasks() if not task.load().Model.evaluates_only]
EVALUATED = [task.name for task in shipped_tasks() if task.load().Model.evaluates_only]
HALF = {"32-true": False, "bf16-mixed": True}


def session(task: str, precision: str, folder: Path, **overrides: Any) -> tuple[Session, set[bool]]:
    """A smoke run of few steps, and whether its backbone was run under bfloat16's autocast."""
    values = {
        "trainer.precision": precision,
        "trainer.limit_val_batches": 1,
        "data.num_workers": 0,
        "run.folder": str(folder / precision),
    }
    run, seen = build(task, "smoke", values | overrides), set()
    run.model.backbone.blocks[0].register_forward_pre_hook(
        lambda *_: seen.add(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16)
    )
    return run, seen


@pytest.mark.parametrize("task", TRAINED)
def test_a_task_trains_a_few_steps_in_either_precision(task: str, tmp_path: Path) -> None:
    """The first step's loss, of the same weights and images, is the same up to bfloat16's rounding."""
    first = {}
    for precision, half in HALF.items():
        flags = {"trainer.max_steps": 2, "trainer.log_every_n_steps": 1}
        run, seen = session(task, precision, tmp_path, **flags)
        result = run.fit()
        assert (result["status"], result["step"]) == ("finished", 2)
        assert (True in seen) == half  # the pictures of some fixed images are drawn in fp32
        with (Path(result["folder"]) / "train.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert len(losses) == 2
        assert all(map(math.isfinite, losses))
        state = torch.load(Path(result["folder"]) / "last.ckpt", weights_only=True)["state_dict"]
        assert all(value.isfinite().all() and value.dtype != torch.bfloat16 for value in state.values())
        first[precision] = losses[0]
    assert first["bf16-mixed"] == pytest.approx(first["32-true"], rel=0.03)
    assert first["bf16-mixed"] != first["32-true"]


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("task", EVALUATED)
def test_a_task_evaluates_in_either_precision(task: str, precision: str, tmp_path: Path) -> None:
    run, seen = session(task, precision, tmp_path, **{"model.weights": "none"})
    values = run.validate(None)
    assert seen == {HALF[precision]}
    assert values
