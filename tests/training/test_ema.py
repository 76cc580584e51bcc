"""The average of the weights: what it is, where it is kept, and that a stopped run goes on with both."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

import maekit
from maekit.cli import main
from maekit.commands.shared.loaded_model import load_model
from maekit.errors import Interrupted
from maekit.recipes.model_settings import settings_class
from maekit.recipes.tasks import find_task, shipped_tasks
from maekit.runs.rows import text_rows
from maekit.training.callbacks.averaging import TRAINED
from maekit.training.callbacks.pictures import Pictures
from tests.conftest import TINY, few_digits, without_key_bias
from tests.helpers_families import few_labelled, few_objects, few_plain
from tests.helpers_run import environment
from tests.numeric import assert_fp32
from tests.numeric_runs import MovedWeights, assert_same_run

DECAY = 0.7
# Everything that draws is on, and two device batches make a step; five steps an epoch.
RANDOM: dict[str, Any] = {
    "data__device_batch_size": 8,
    "model__drop_path": 0.3,
    "model__mixup": 0.8,
    "data__random_erasing": 0.5,
}


def settings(folder: Path, **overrides: Any) -> dict[str, Any]:
    values: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    values |= {"run.folder": str(folder), "data.root": str(few_digits()), "trainer.limit_val_batches": 1.0}
    values |= {"model.ema_decay": DECAY, "trainer.max_epochs": 2}
    return values | {key.replace("__", "."): value for key, value in overrides.items()}


def session(folder: Path, task: str = "imagenet_scratch", **overrides: Any) -> maekit.Session:
    return maekit.build(task, "smoke", settings(folder, **overrides))


def read(file: Path) -> dict[str, Any]:
    contents: dict[str, Any] = torch.load(file, weights_only=True)
    return contents


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, msg=name)


def same_files(one: Path, two: Path) -> None:
    """The averages, the trained weights and the optimizers of two last.ckpt."""
    a, b = read(one), read(two)
    same(a["state_dict"], b["state_dict"])
    same(a[TRAINED], b[TRAINED])
    heads = [name for name in a[TRAINED] if name.startswith("model.head.") and name.endswith(".weight")]
    assert any(not torch.equal(a["state_dict"][name], a[TRAINED][name]) for name in heads if a[TRAINED][name].ndim > 1)
    moments = [state["optimizer_states"][0]["state"] for state in (a, b)]
    same(*({f"{i} {key}": value for i, s in m.items() for key, value in s.items()} for m in moments))


class Steps(Callback):
    """Keeps the trained weights after every optimizer step, and what a validation finds in the model."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.validated: dict[int, dict[str, Tensor]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.weights):
            self.weights.append({name: tensor.clone() for name, tensor in pl_module.state_dict().items()})

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.validated[trainer.global_step] = {name: t.clone() for name, t in pl_module.state_dict().items()}


def averages(first: dict[str, Tensor], steps: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The average after each step, in fp64 and term by term: decay^k of the first weights and so on."""
    found, average = [], {name: tensor.double() for name, tensor in first.items()}
    for weights in steps:
        average = {name: DECAY * average[name] + (1 - DECAY) * weights[name].double() for name in average}
        found.append(average)
    return found


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_fp32(found[name], tensor, msg=name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Steps, list[dict[str, Tensor]], maekit.Session]:
    """A run of ten steps of two device batches, and the averages of its weights computed beside it."""
    run, steps = session(tmp_path_factory.mktemp("runs"), **RANDOM), Steps()
    first = {f"model.{name}": tensor.clone() for name, tensor in run.model.state_dict().items()}
    folder = Path(run.fit(callbacks=[steps])["folder"])
    assert len(steps.weights) == 10
    return folder, steps, averages(first, steps.weights), run


Finished = tuple[Path, Steps, list[dict[str, Tensor]], maekit.Session]


def test_the_average_is_one_computed_step_by_step(finished: Finished) -> None:
    folder, steps, expected, run = finished
    last, best = read(folder / "last.ckpt"), read(folder / "best.ckpt")
    close(last["state_dict"], expected[-1])
    same(last[TRAINED], steps.weights[-1])
    close(best["state_dict"], expected[best["maekit"]["step"] - 1])
    assert TRAINED not in best
    close({f"model.{name}": t for name, t in run.model.state_dict().items()}, expected[-1])
    difference = max((expected[-1][name] - t.double()).abs().max().item() for name, t in steps.weights[-1].items())
    assert difference > 1e-3  # else the trained weights would pass for the average


def test_a_validation_measures_the_average_and_leaves_the_trained_weights(finished: Finished) -> None:
    _, steps, expected, _ = finished
    assert set(steps.validated) == {0, 5, 10}  # 0: Lightning's sanity check, on the first weights
    for step in (5, 10):
        close(steps.validated[step], expected[step - 1])


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_validate_and_predict_take_the_average(name: str, finished: Finished, tmp_path: Path) -> None:
    folder, _, _, _ = finished
    contents = read(folder / name)
    rows = {int(row["step"]): row for row in text_rows(folder / "val.csv")}
    logged = rows[contents["maekit"]["step"]]
    found = session(tmp_path, **RANDOM).validate(folder / name)
    assert {key: pytest.approx(float(logged[key]), rel=1e-6) for key in found} == found
    model, _ = load_model(folder / name, "cpu")
    same({f"model.{key}": tensor for key, tensor in model.state_dict().items()}, contents["state_dict"])


def test_another_run_starts_from_the_average(finished: Finished, tmp_path: Path) -> None:
    folder, _, _, _ = finished
    run = session(tmp_path, "imagenet_finetune", data__image_size=32, model__weights=str(folder / "last.ckpt"))
    report = run.model.load_start(complete=True)
    assert report is not None and report.coverage == 1.0
    same({f"model.{key}": t for key, t in run.model.state_dict().items()}, read(folder / "last.ckpt")["state_dict"])


class At(Callback):
    """Does something once, when a number of optimizer steps is done."""

    def __init__(self, step: int, where: str, what: Callable[[], object]) -> None:
        self.step, self.where, self.what = step, where, what

    def _look(self, trainer: Trainer, where: str) -> None:
        if where == self.where and trainer.global_step == self.step and not trainer.sanity_checking:
            self.step = -1
            self.what()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._look(trainer, "step")

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._look(trainer, "validation")


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("step", "where", "what"),
    [(3, "step", stop), (5, "validation", stop), (7, "step", fail), (5, "validation", fail)],
)
def test_a_stopped_run_goes_on_bit_for_bit(
    step: int, where: str, what: Callable[[], object], finished: Finished, tmp_path: Path
) -> None:
    """Stopped between two steps, inside a validation, and by an error before the step was averaged."""
    with pytest.raises(Interrupted if what is stop else ZeroDivisionError):
        session(tmp_path, **RANDOM).fit(callbacks=[At(step, where, what)])
    run = tmp_path / "imagenet_scratch/smoke/0"
    session(tmp_path, **RANDOM).fit(run / "last.ckpt")
    same_files(run / "last.ckpt", finished[0] / "last.ckpt")
    same(read(run / "best.ckpt")["state_dict"], read(finished[0] / "best.ckpt")["state_dict"])
    assert text_rows(run / "val.csv") == text_rows(finished[0] / "val.csv")


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optim__schedule": "multistep", "optim__milestones": [100], "trainer__max_epochs": 9}
    whole = Path(session(tmp_path / "whole", trainer__max_steps=7, **options).fit()["folder"])
    run = Path(session(tmp_path / "parts", trainer__max_steps=3, **options).fit()["folder"])
    session(tmp_path / "parts", trainer__max_steps=7, run__extend=True, **options).fit(run / "last.ckpt")
    same_files(run / "last.ckpt", whole / "last.ckpt")


def test_averaging_may_stop_or_begin_when_a_run_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optim__schedule": "multistep", "optim__milestones": [100], "trainer__max_epochs": 9}
    more = options | {"run__extend": True}
    plain = session(tmp_path / "plain", model__ema_decay=None, trainer__max_steps=4, **options).fit()["folder"]
    run = Path(session(tmp_path / "parts", trainer__max_steps=3, **options).fit()["folder"])
    session(tmp_path / "parts", model__ema_decay=None, trainer__max_steps=4, **more).fit(run / "last.ckpt")
    same(read(run / "last.ckpt")["state_dict"], read(Path(plain) / "last.ckpt")["state_dict"])
    steps, first = Steps(), read(run / "last.ckpt")["state_dict"]
    session(tmp_path / "parts", trainer__max_steps=6, **more).fit(run / "last.ckpt", callbacks=[steps])
    # the recorder's list starts at step 5, whose number is the first it has not seen
    close(read(run / "last.ckpt")["state_dict"], averages(first, steps.weights)[-1])


def test_a_probe_averages_its_classifier_and_statistics_and_nothing_frozen(tmp_path: Path) -> None:
    folder = Path(
        session(tmp_path, "imagenet_linprobe", trainer__max_epochs=1, trainer__check_val_every_n_epoch=1).fit()[
            "folder"
        ]
    )
    assert set(read(folder / "last.ckpt")[TRAINED]) == {
        f"model.head.{name}" for name in ("fc.weight", "fc.bias", "fc_norm.running_mean", "fc_norm.running_var")
    }


def test_a_killed_process_goes_on_as_if_nothing_had_happened(finished: Finished, tmp_path: Path) -> None:
    values = settings(tmp_path, **RANDOM, run__save_every_minutes=0)
    flags = [f"--{key}={value}" for key, value in values.items()]
    command = [sys.executable, "-m", "maekit", "fit", "--task", "imagenet_scratch", "--recipe", "smoke", *flags]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    run = tmp_path / "imagenet_scratch/smoke/0"
    deadline = time.monotonic() + 120
    while len(text_rows(run / "train.csv")) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait(timeout=30)
    assert 2 <= read(run / "last.ckpt")["maekit"]["step"] < 10, "the kill came too late to prove anything"
    session(tmp_path, **RANDOM).fit(run / "last.ckpt")
    same_files(run / "last.ckpt", finished[0] / "last.ckpt")


def few_to_probe(root: Path) -> dict[str, Any]:
    """Digits to pre-train on, with a check of frozen features beside it."""
    return few_plain(root) | {"data.probe_root": str(few_digits()), "trainer.check_val_every_n_epoch": 1}


FAMILIES: dict[str, tuple[Callable[[Path], dict[str, Any]], dict[str, Any]]] = {
    "ade20k_upernet": (
        few_labelled,
        {"data.total_batch_size": 2, "optim.lr": 1e-3, "trainer.val_check_interval": 2, "trainer.max_epochs": None},
    ),
    "coco_maskrcnn": (few_objects, {"data.device_batch_size": 1, "model.mask_rcnn.max_detections": 5}),
    "mae_pretrain": (few_to_probe, {"data.total_batch_size": 40, "data.device_batch_size": 20}),
    "imagenet_linprobe": (lambda _: {}, {"model.cached_features": True, "trainer.check_val_every_n_epoch": 1}),
}


@pytest.mark.parametrize("task", FAMILIES)
def test_every_family_averages_and_goes_on_bit_for_bit(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validated at step 2 and 4 with the average, stopped at step 3; BatchNorm, frozen parts, side metrics as well."""
    monkeypatch.setattr(Pictures, "on_validation_end", lambda *_: None)  # half of the time is the PNGs'
    made, changed = FAMILIES[task]
    own = {"optim.warmup_steps": 0, "optim.warmup_epochs": None, "data.total_batch_size": 40}
    own |= {"data.device_batch_size": 40} | changed
    values = own | made(tmp_path / "data") | changed | {"trainer.max_steps": 4}

    def start(name: str, **more: Any) -> maekit.Session:
        return maekit.build(task, "smoke", settings(tmp_path / name) | values | more)

    run, steps = start("whole"), Steps()
    first = {f"model.{name}": tensor.clone() for name, tensor in run.model.state_dict().items()}
    whole = Path(run.fit(callbacks=[steps])["folder"])
    expected, trained = averages(first, steps.weights), read(whole / "last.ckpt")[TRAINED]
    frozen = {name: t for name, t in first.items() if name not in trained and not name.endswith("tracked")}
    found = {2: steps.validated[2], 4: steps.validated[4]}
    same(found[4], read(whole / "last.ckpt")["state_dict"])
    for step, state in found.items():
        close({name: state[name] for name in trained}, {name: expected[step - 1][name] for name in trained})
        same({n: t for n, t in state.items() if n not in trained and not n.endswith("tracked")}, frozen)
    assert any(name.endswith("running_var") for name in trained) == (task in ("ade20k_upernet", "imagenet_linprobe"))
    assert ("model.backbone.patch_embed.proj.weight" in trained) == (task != "imagenet_linprobe")
    with pytest.raises(ZeroDivisionError):
        start("parts").fit(callbacks=[At(3, "step", fail)])
    part = tmp_path / f"parts/{task}/smoke/0"
    start("parts").fit(part / "last.ckpt")
    same_files(part / "last.ckpt", whole / "last.ckpt")
    assert text_rows(part / "val.csv") == text_rows(whole / "val.csv")


def test_every_task_that_trains_has_an_average(tmp_path: Path) -> None:
    assert main(["copy", "ade20k_linear", str(tmp_path / "my"), "--name", "mine"]) == 0
    for task in (*shipped_tasks(), find_task(str(tmp_path / "my/tasks/mine.py"))):
        model = task.load().Model
        names = {field.name for field in fields(settings_class(model))}
        assert ("ema_decay" in names) == (not model.evaluates_only), task.name


TWO = """
import json, sys
import maekit

for task, values, stop in json.loads(sys.argv[1]):
    maekit.build(task, "smoke", values | {"run.name": "whole"}).fit()
    if stop:
        maekit.build(task, "smoke", values | {"run.name": "parts", "run.stop_at_step": stop}).fit()
        maekit.build(task, "smoke", values).fit(f"{values['run.folder']}/{task}/smoke/parts")
"""


@pytest.mark.slow
def test_two_processes_average_as_one_does(tmp_path: Path) -> None:
    """The average of two processes; and a run of them that is stopped equals the undisturbed, BatchNorm's too."""
    still: dict[str, Any] = {"optim__base_lr": 2e-3, "trainer__accelerator": "cpu", "trainer__max_steps": 4}
    one = Path(session(tmp_path / "one", **still).fit()["folder"])
    probe = {"trainer.check_val_every_n_epoch": 1, "optim.warmup_epochs": 0}
    two = settings(tmp_path / "two", **still, trainer__devices=2)
    runs = [("imagenet_scratch", two, 0), ("imagenet_linprobe", two | probe, 2)]
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, str(tmp_path / "two.py"), json.dumps(runs)]
    subprocess.run(command, check=True, capture_output=True, timeout=240, env=environment())
    a, b = (read(run / "last.ckpt") for run in (one, tmp_path / "two/imagenet_scratch/smoke/whole"))
    moved = Path(session(tmp_path / "moved", **still).fit(callbacks=[MovedWeights()])["folder"])
    c = read(moved / "last.ckpt")
    for part in ("state_dict", TRAINED):
        assert_same_run(*(without_key_bias(state[part]) for state in (b, a, c)))
    logged = [text_rows(run / "val.csv")[-1] for run in (tmp_path / "two/imagenet_scratch/smoke/whole", one, moved)]
    assert_same_run(*({"loss": torch.tensor(float(row["loss"]))} for row in logged))
    whole, parts = (tmp_path / f"two/imagenet_linprobe/smoke/{part}" for part in ("whole", "parts"))
    same_files(parts / "last.ckpt", whole / "last.ckpt")
    rows = {row["step"]: row for row in text_rows(whole / "val.csv")}
    assert {row["step"]: row for row in text_rows(parts / "val.csv")}.items() >= rows.items()
