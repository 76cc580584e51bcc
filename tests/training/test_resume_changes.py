"""What a resume may change is used and written down; the rest is refused, and then no file of the run has changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

import maekit
from maekit.base.checkpoint_card import read_card
from maekit.errors import UserError
from maekit.optim.settings import Optimisation
from maekit.runs.history import read_history
from maekit.runs.rows import text_rows
from tests.conftest import TINY, few_digits
from tests.helpers_run import At, losses, state, tiny

RUNS = "imagenet_finetune/smoke/0"


def paused(folder: Path, task: str = "imagenet_finetune", **options: Any) -> Path:
    """A run of 10 steps that stopped after 3."""
    values: dict[str, Any] = {"trainer__max_epochs": 2, "run__stop_at_step": 3} | options
    return Path(tiny(folder, task, **values).fit()["folder"])


def files(run: Path) -> dict[str, bytes]:
    """Everything in a run's folder but the lock."""
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


class Groups:
    """The optimizer's groups as step 4 uses them."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def look(self, trainer: Trainer, module: Any) -> None:
        self.found = [dict(group) for group in module.optimizer_groups()]


@pytest.mark.parametrize(
    ("task", "flag", "value", "option", "expected"),
    [
        ("imagenet_finetune", "optim__betas", [0.8, 0.9], "betas", [0.8, 0.9]),
        ("imagenet_finetune", "optim__weight_decay", 0.123, "weight_decay", 0.123),
        ("imagenet_linprobe", "optim__momentum", 0.5, "momentum", 0.5),
        ("imagenet_linprobe", "optim__trust_coefficient", 0.01, "trust_coefficient", 0.01),
    ],
)
def test_an_optimizer_option_given_as_a_flag_is_used(
    task: str, flag: str, value: Any, option: str, expected: Any, tmp_path: Path
) -> None:
    run = paused(tmp_path, task, trainer__check_val_every_n_epoch=1)
    seen = Groups()
    options: dict[str, Any] = {"trainer__max_epochs": 2, "trainer__check_val_every_n_epoch": 1, flag: value}
    tiny(tmp_path, task, **options).fit(run / "last.ckpt", callbacks=[At(3, seen.look)])
    used = {tuple(group[option]) if isinstance(expected, list) else group[option] for group in seen.found}
    assert (tuple(expected) if isinstance(expected, list) else expected) in used
    assert used <= {0.0, tuple(expected) if isinstance(expected, list) else expected}
    key = flag.replace("__", ".")
    assert read_history(run)[-1]["changed"][key]["now"] == value
    assert read_card(run / "last.ckpt").config["optim"][key.removeprefix("optim.")] == value


@pytest.mark.parametrize(
    "flags", [{"optim__base_lr": 1e-2}, {"optim__layer_decay": 0.5}, {"optim__base_lr": None, "optim__lr": 7e-4}]
)
def test_another_lr_given_as_a_flag_has_its_own_schedule(flags: dict[str, Any], tmp_path: Path) -> None:
    run = paused(tmp_path)
    seen = Groups()
    session = tiny(tmp_path, trainer__max_epochs=2, **flags)
    session.fit(run / "last.ckpt", callbacks=[At(3, seen.look)])
    optimisation = Optimisation(**session.settings.values["optim"])
    rows = {row.name: row.lr for row in optimisation.rows(session.model, session.model.backbone, 16)}
    factor = optimisation.factor(10, 5)
    for group in seen.found:
        assert group["peak_lr"] == rows[group["parameter_names"][0]]
        assert group["lr"] == pytest.approx(group["peak_lr"] * factor(3, group), rel=1e-12)
    assert float(text_rows(run / "train.csv")[-1]["lr"]) == pytest.approx(max(rows.values()) * factor(9, seen.found[0]))


def test_a_longer_runs_first_step_is_on_its_own_schedule(tmp_path: Path) -> None:
    run = paused(tmp_path)
    seen = Groups()
    session = tiny(tmp_path, trainer__max_epochs=4)
    session.fit(run / "last.ckpt", callbacks=[At(3, seen.look)])
    factor = Optimisation(**session.settings.values["optim"]).factor(20, 5)
    assert seen.found[0]["lr"] == pytest.approx(seen.found[0]["peak_lr"] * factor(3, seen.found[0]), rel=1e-12)


def with_file(folder: Path, text: str, **options: Any) -> maekit.Session:
    """A session whose recipe has been edited, which is no flag."""
    file = folder / "edited.yaml"
    file.write_text(text)
    values: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    values |= {"run.folder": str(folder), "data.root": str(few_digits()), "trainer.max_epochs": 2}
    values |= {key.replace("__", "."): value for key, value in options.items()}
    return maekit.build("imagenet_finetune", "smoke", values, [file])


@pytest.mark.parametrize(
    ("text", "options", "named"),
    [
        ("optim: {base_lr: 0.001}", {}, "optim.base_lr 0.001 from the recipe.*give --optim.base_lr 0.001"),
        ("optim: {betas: [0.5, 0.6]}", {}, r"--optim.betas \[0.5,0.6\]"),
        ("optim: {layer_decay: 0.3}", {"optim__weight_decay": 0.1}, "--optim.layer_decay 0.3"),
        ("optim: {no_weight_decay: []}", {}, "optimizer group"),
        ("{}", {"data__total_batch_size": 32, "optim__base_lr": 1e-3}, "data.total_batch_size 32, expected 16"),
        ("optim: {momentum: 0.9, trust_coefficient: 0.01}", {"optim__optimizer": "lars"}, "optimizer lars"),
        ("{}", {"model__backbone": "vit_smoke_patch8"}, r"model \(model.backbone vit_test_patch8 -> vit"),
        ("{}", {"run__stop_at_step": 2}, "at step 3, beyond --run.stop_at_step 2"),
        ("{}", {"trainer__max_epochs": -1, "trainer__max_steps": 2}, "step 3"),
    ],
)  # fmt: skip
def test_what_cannot_change_is_refused_and_no_file_has_changed(
    text: str, options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    run = paused(tmp_path)
    before = files(run)
    with pytest.raises(UserError, match=named) as caught:
        with_file(tmp_path, text, **options).fit(run / "last.ckpt")
    assert "\n" not in str(caught.value)
    assert files(run) == before


def test_an_edited_recipe_beside_the_flag_that_keeps_the_value_goes_on(tmp_path: Path) -> None:
    run = paused(tmp_path)
    kept = read_card(run / "last.ckpt").config["optim"]["base_lr"]
    with_file(tmp_path, "optim: {base_lr: 0.001}", optim__base_lr=kept).fit(run / "last.ckpt")
    assert read_history(run)[-1]["changed"].keys() == {"run.stop_at_step"}


def test_weights_named_on_resume_are_not_used_and_the_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = paused(tmp_path)
    session = tiny(tmp_path, trainer__max_epochs=2, model__weights=str(run / "best.ckpt"), model__new_head=True)
    session.fit(run / "last.ckpt")
    said = capsys.readouterr().out
    assert "kept: model.weights none" in said
    assert "changed: model.weights" not in said
    assert read_card(run / "last.ckpt").config["model"]["weights"] == "none"


def test_each_part_of_a_run_is_in_its_history(tmp_path: Path) -> None:
    run = paused(tmp_path)
    tiny(tmp_path, trainer__max_epochs=2, run__stop_at_step=6, optim__betas=[0.8, 0.9]).fit(run / "last.ckpt")
    tiny(tmp_path, trainer__max_epochs=2, optim__betas=[0.8, 0.9], data__device_batch_size=8).fit(run / "last.ckpt")
    parts = read_history(run)
    assert [part["from_step"] for part in parts] == [0, 3, 6]
    assert parts[0]["changed"] == {}
    assert parts[1]["changed"]["optim.betas"] == {"before": [0.9, 0.999], "now": [0.8, 0.9]}
    assert "optim.betas" not in parts[2]["changed"]
    assert parts[2]["changed"]["data.device_batch_size"] == {"before": 16, "now": 8}
    assert all(part["started"] and part["command"] for part in parts)


def test_a_run_that_began_without_a_history_gets_its_first_part_from_its_environment(tmp_path: Path) -> None:
    run = paused(tmp_path)
    (run / "history.json").unlink()
    started = json.loads((run / "environment.json").read_text())["started"]
    tiny(tmp_path, trainer__max_epochs=2).fit(run / "last.ckpt")
    first, second = read_history(run)
    assert (first["from_step"], first["started"], second["from_step"]) == (0, started, 3)


def test_another_device_batch_is_said_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = paused(tmp_path)
    tiny(tmp_path, trainer__max_epochs=2, data__device_batch_size=4).fit(run / "last.ckpt")
    assert "batch 1 devices x 16 x 1 -> 1 devices x 4 x 4: the same images" in capsys.readouterr().out


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    run = paused(tmp_path)
    contents = state(run / "last.ckpt")
    contents["optimizer_states"][0]["state"][2]["exp_avg"].view(-1)[1] = float("nan")
    torch.save(contents, run / "last.ckpt")
    before = files(run)
    with pytest.raises(UserError, match=r"NaN or infinity in the optimizer's exp_avg.*best\.ckpt"):
        tiny(tmp_path, trainer__max_epochs=2).fit(run / "last.ckpt")
    assert files(run) == before


def remove(root: Path) -> None:
    for folder in (root / "train").iterdir():
        sorted(folder.iterdir())[0].unlink()
    for folder in sorted((root / "val").iterdir())[:5]:
        sorted(folder.iterdir())[0].unlink()


def add(root: Path) -> None:
    first = sorted((root / "train").iterdir())[0]
    shutil.copy(sorted(first.iterdir())[0], first / "one_more.JPEG")


def relabel(root: Path) -> None:
    first, second = sorted((root / "val").iterdir())[:2]
    for number, file in enumerate(sorted(first.iterdir())):
        file.rename(second / f"moved{number}.JPEG")
    for file in [file for file in sorted(second.iterdir()) if not file.name.startswith("moved")]:
        file.rename(first / file.name)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (remove, "train: 70 images, 80 when it was saved; val: 15 images, 20 when it was saved"),
        (add, "train: 81 images, 80 when it was saved"),
        (relabel, r"val: as many images \(20\), but other files or labels"),
    ],
)
def test_other_data_under_a_run_is_refused_unless_confirmed(
    change: Callable[[Path], None], found: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(few_digits(), root)
    options: dict[str, Any] = {"data__root": str(root), "trainer__max_epochs": 3, "trainer__limit_val_batches": 1.0}
    run = Path(tiny(tmp_path / "runs", run__stop_at_step=7, **options).fit()["folder"])
    best = read_card(run / "best.ckpt").step
    change(root)
    before = files(run)
    with pytest.raises(UserError, match=found) as caught:
        tiny(tmp_path / "runs", **options).fit(run / "last.ckpt")
    assert "--run.new_data true" in str(caught.value)
    assert files(run) == before
    result = tiny(tmp_path / "runs", run__new_data=True, **options).fit(run / "last.ckpt")
    total = 3 * (len(list((root / "train").rglob("*.JPEG"))) // 16)
    assert (result["status"], result["step"]) == ("finished", total)
    assert set(losses(run)) == set(range(1, total + 1))
    assert read_history(run)[-1]["new_data"]
    assert result["best"]["step"] > 7 or change is add  # a value of other validation images is not compared with
    assert best <= 7
    tiny(tmp_path / "runs", run__extend=True, **options | {"trainer__max_epochs": 4}).fit(run / "last.ckpt")  # its data


@pytest.mark.parametrize(
    "flags",
    [{"trainer__limit_val_batches": 2}, {"data__mean": [0.5, 0.5, 0.5]}, {"data__eval_crop_fraction": 0.9}],
)
def test_values_of_another_evaluation_are_not_compared_with(flags: dict[str, Any], tmp_path: Path) -> None:
    run = paused(tmp_path, optim__base_lr=1e-9)  # no value is better than another but by how it is measured
    contents = state(run / "last.ckpt")
    contents["callbacks"]["SaveBest"]["value"] = 100.0
    torch.save(contents, run / "last.ckpt")
    result = tiny(tmp_path, trainer__max_epochs=2, optim__base_lr=1e-9, **flags).fit(run / "last.ckpt")
    assert result["best"]["value"] < 100 and result["best"]["step"] > 3


def test_a_run_measured_by_its_recipe_alone_is_said_to_be_measured_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = paused(tmp_path, data__eval_crop_fraction=0.5, trainer__limit_val_batches=1)
    words = "measured with data.eval_crop_fraction 1.0 of the recipe smoke, 0.5 in the run"
    tiny(tmp_path).validate(run)
    assert words in capsys.readouterr().out
    tiny(tmp_path, model__weights=run / "best.ckpt").validate()
    assert words in capsys.readouterr().out
    tiny(tmp_path, data__eval_crop_fraction=0.5).validate(run)
    assert "measured with" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"does not fit the model \(model.pooling mean -> class"):
        tiny(tmp_path, model__pooling="class").validate(run)


def test_a_data_set_that_was_moved_is_the_same(tmp_path: Path) -> None:
    shutil.copytree(few_digits(), tmp_path / "here")
    run = paused(tmp_path, data__root=str(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    tiny(tmp_path, trainer__max_epochs=2, data__root=str(tmp_path / "there")).fit(run / "last.ckpt")
    assert not read_history(run)[-1]["new_data"]


def test_a_checkpoint_of_an_older_version_knows_nothing_of_its_data_and_goes_on(tmp_path: Path) -> None:
    run = paused(tmp_path)
    contents = state(run / "last.ckpt")
    for key in ("data", "plan"):
        contents["maekit"].pop(key)
    for key in ("new_data", "extend"):
        contents["maekit"]["config"]["run"].pop(key)
    torch.save(contents, run / "last.ckpt")
    assert tiny(tmp_path, trainer__max_epochs=2).fit(run / "last.ckpt")["status"] == "finished"
