"""A run that resumes with another device batch or accumulation trains what the uninterrupted run would have."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.runs.rows import text_rows
from tests.helpers_run import losses, state, tiny

STILL: dict[str, Any] = {"trainer__max_epochs": 3, "trainer__limit_val_batches": 1.0, "optim__layer_decay": 0.7}
RUNS = "imagenet_finetune/smoke/0"


def same_run(run: Path, whole: Path) -> None:
    """To rounding: the losses of all steps, and the validations with their steps."""
    found, expected = losses(run), losses(whole)
    assert found.keys() == expected.keys() == set(range(1, 16))
    for step, loss in expected.items():
        assert float(found[step]) == pytest.approx(float(loss), rel=1e-4), step
    rows, whole_rows = text_rows(run / "val.csv"), text_rows(whole / "val.csv")
    assert [row["step"] for row in rows] == [row["step"] for row in whole_rows]
    for row, expected_row in zip(rows, whole_rows, strict=True):
        assert float(row["loss"]) == pytest.approx(float(expected_row["loss"]), rel=1e-4)


@pytest.mark.parametrize(
    ("step", "before", "after", "options"),
    [
        (7, 16, 4, {}),  # in the middle of an epoch
        (10, 4, 16, {}),  # at an epoch's end, to fewer and larger batches
        (3, 8, 2, {"trainer__val_check_interval": 4}),
        (8, 16, 8, {"trainer__val_check_interval": 0.5}),  # after two steps of five
    ],
)
def test_a_resume_with_another_accumulation_is_the_same_run(
    step: int, before: int, after: int, options: dict[str, Any], tmp_path: Path
) -> None:
    options = STILL | options
    whole = Path(tiny(tmp_path / "whole", data__device_batch_size=before, **options).fit()["folder"])
    run = Path(
        tiny(tmp_path / "parts", data__device_batch_size=before, run__stop_at_step=step, **options).fit()["folder"]
    )
    paused = {row["step"] for row in text_rows(run / "val.csv")}
    result = tiny(tmp_path / "parts", data__device_batch_size=after, **options).fit(run / "last.ckpt")
    assert (result["status"], result["step"]) == ("finished", 15)
    extra = paused - {row["step"] for row in text_rows(whole / "val.csv")}  # the pause's own
    rows = [line for line in (run / "val.csv").read_text().splitlines() if line.split(",")[0] not in extra]
    (run / "val.csv").write_text("\n".join(rows) + "\n")
    same_run(run, whole)


def test_a_checkpoint_of_an_older_version_resumes_with_another_accumulation(tmp_path: Path) -> None:
    """Its counters are those of its own device batches, in the middle of a validation; none of them is used."""
    whole = Path(tiny(tmp_path / "whole", **STILL).fit()["folder"])
    run = Path(tiny(tmp_path / "parts", run__stop_at_step=10, **STILL).fit()["folder"])
    old = state(run / "last.ckpt")
    loops = old["loops"]["fit_loop"]
    for part in ("current", "total"):
        loops["epoch_loop.batch_progress"][part] = dict.fromkeys(("ready", "started", "processed", "completed"), 5)
        loops["epoch_loop.val_loop.batch_progress"][part] = dict.fromkeys(
            ("ready", "started", "processed", "completed"), 1
        )
    for callback in old["callbacks"].values():
        callback.pop("begun_step", None)
    torch.save(old, run / "last.ckpt")
    tiny(tmp_path / "parts", data__device_batch_size=4, **STILL).fit(run / "last.ckpt")
    same_run(run, whole)
