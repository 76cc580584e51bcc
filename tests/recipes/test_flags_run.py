"""Every `--trainer.*` and `--run.*` flag in a run of two steps: it works, or is refused in one line that names it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import maekit
from maekit.errors import UserError
from maekit.runs.rows import text_rows
from maekit.training.callbacks.progress import Progress
from maekit.training.callbacks.record import Record
from maekit.training.run_module import RunModule
from tests.conftest import TINY, few_digits
from tests.recipes.flag_values import FLAGS

KEYS = [key for key in FLAGS if key.startswith(("trainer.", "run."))]
# Values of these contradict another flag's, or are slow: each is run by itself.
ALONE = [
    "trainer.benchmark", "trainer.check_val_every_n_epoch", "trainer.deterministic", "trainer.limit_val_batches",
    "trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.val_check_interval",
]  # fmt: skip
STOPS = ("run.stop_at_step", "run.patience", "run.min_delta")
TOGETHER = [key for key in KEYS if key not in (*ALONE, *STOPS, "run.compile")]
ROUNDS = max(len(FLAGS[key].good) for key in TOGETHER)


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)


def run(values: dict[str, str]) -> dict[str, Any]:
    """Two steps of the smallest run there is."""
    flags = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    flags |= {"data.root": str(few_digits()), "trainer.max_steps": "2", "trainer.accelerator": "cpu"}
    return maekit.build("imagenet_finetune", "smoke", {**flags, **values}).fit()


@pytest.mark.parametrize("place", range(ROUNDS))
def test_flags_work_together(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In each round every flag has another one of its values."""
    values = {key: FLAGS[key].good[place % len(FLAGS[key].good)] for key in TOGETHER}
    result = run(values)
    out = capsys.readouterr().out
    assert result["status"] == "finished"
    assert len(text_rows(Path(result["folder"]) / "train.csv")) >= 1
    assert ("FIT Profiler Report" in out) == (values["trainer.profiler"] != "null")
    assert ("parameters are trained" in out) == (values["trainer.enable_model_summary"] == "true")
    assert ("mine" in result["folder"]) == (values["run.name"] == "mine")
    assert "elsewhere" in result["folder"]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key in ALONE for value in FLAGS[key].good])
def test_a_flag_works_alone(key: str, value: str) -> None:
    ends = {"trainer.max_steps": {"trainer.max_epochs": "2"}}
    result = run({**ends.get(key, {}), key: value})
    steps = 1 if (key, value) == ("trainer.max_steps", "1") else 2
    assert (result["status"], result["step"]) == ("finished", steps)
    measured = (key, value) != ("trainer.limit_val_batches", "0")
    assert bool(result["val"]) == measured
    if (key, value) in (("trainer.val_check_interval", "1"), ("trainer.val_check_interval", "0.5")):
        assert len(text_rows(Path(result["folder"]) / "val.csv")) == (2 if value == "1" else 1)


@pytest.mark.parametrize("key", KEYS)
def test_a_bad_value_is_refused_in_one_line_and_leaves_no_run(key: str, tmp_path: Path) -> None:
    for value in FLAGS[key].bad:
        with pytest.raises(UserError) as caught:
            run({key: value})
        line = str(caught.value)
        assert key.rsplit(".", 1)[-1] in line, (value, line)
        assert "\n" not in line
        assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"trainer.deterministic": "true", "trainer.benchmark": "true"}, "--trainer.benchmark"),
        ({"trainer.val_check_interval": "2", "trainer.check_val_every_n_epoch": "2"}, "set one of them to null"),
        ({"trainer.max_steps": "-1", "trainer.max_epochs": "-1"}, "the run has no end"),
        ({"trainer.max_epochs": "null", "trainer.max_steps": "-1"}, "the run has no end"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(values: dict[str, str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        run(values)


@pytest.mark.parametrize(
    ("kind", "count", "devices", "expected"),
    [
        ("cuda", 2, "3", "2 cuda"),
        ("cuda", 2, "99", "2 cuda"),
        ("cuda", 2, "[0,2]", "cuda:2"),
        ("cuda", 2, "0,5", "cuda:5"),
        ("cuda", 2, "2", None),
        ("cuda", 2, "-1", None),
        ("cuda", 2, "[1]", None),
        ("cuda", 2, "auto", None),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    kind: str, count: int, devices: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maekit.system.hardware import check_devices

    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    given: Any = [int(word) for word in devices[1:-1].split(",")] if devices.startswith("[") else devices
    if expected is None:
        assert check_devices("gpu", kind, given) == (1 if devices == "[1]" else 2)
    else:
        with pytest.raises(UserError, match=expected):
            check_devices("gpu", kind, given)


def test_no_progress_bar_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module(RunModule):
        def total_steps(self) -> int:
            return 5

    class Fit:
        global_step = 0

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for shown in (True, False):
        progress = Progress(Record(tmp_path, 1), show_bar=shown)
        progress.on_train_start(Fit(), Module())  # type: ignore[arg-type,abstract]
        assert (progress.bar is not None) == shown
        progress.on_train_end(Fit(), Module())  # type: ignore[arg-type,abstract]


@pytest.mark.parametrize(
    ("task", "part"),
    [("imagenet_finetune", "compile on: the training losses"), ("coco_maskrcnn", "compile on: the backbone and")],
)
def test_what_is_compiled_is_said(
    task: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", lambda losses: losses)
    flags = {"data.num_workers": 0, "model.weights": "none", "trainer.accelerator": "cpu", "run.compile": True}
    flags |= {"run.folder": str(tmp_path), "trainer.max_steps": 1, "trainer.limit_val_batches": 1}
    maekit.build(task, "smoke", flags).fit()
    assert part in capsys.readouterr().out
