"""Recipe and flags against a task: each mistake is one line that names the right key and the place."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from maekit.errors import UserError
from maekit.recipes.model_settings import SHOWN, settings_class
from maekit.recipes.options import OWNED, TrainerOptions
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import Settings, resolve
from maekit.recipes.tasks import find_task

ABSOLUTE = "optim: {lr: 1e-3, base_lr: null}\ndata: {total_batch_size: 64}"


def settings(*flags: str, config: str = "", folder: Path = Path(), recipe: str = "smoke") -> Settings:
    extra = []
    if config:
        extra = [folder / "mine.yaml"]
        extra[0].write_text(config)
    loaded = load_recipe(find_task("imagenet_finetune"), recipe, extra)
    return resolve(loaded, loaded.task.load(), flags, training=True)


def test_flags_win_over_files_and_files_over_recipes(tmp_path: Path) -> None:
    found = settings(
        "--optim.layer_decay", "0.4", config="optim: {layer_decay: 0.5}\nmodel: {drop_path: 0.25}", folder=tmp_path
    )
    assert found.values["optim"]["layer_decay"] == 0.4
    assert found.values["model"]["drop_path"] == 0.25
    assert found.values["model"]["backbone"] == "vit_smoke_patch8"
    assert found.given == {"optim.layer_decay"}


def test_what_a_run_saves_gives_the_same_run(tmp_path: Path) -> None:
    first = settings("--optim.base_lr=3e-3", "--trainer.max_steps=7", "--run.seed=5")
    again = settings(config=first.yaml(), folder=tmp_path)
    assert again.values == first.values


@pytest.mark.parametrize(
    ("flags", "config", "expected"),
    [
        (["--model.layer_decy", "0.5"], "", "did you mean '--optim.layer_decay'?"),
        (["--recip", "base"], "", "did you mean '--recipe'?"),
        (["--trainer.accumulate_grad_batches", "2"], "", "data.device_batch_size decides"),
        (["--trainer.fast_dev_run", "true"], "", "--trainer.max_steps 3"),
        ([], "model: {layer_decy: 0.5}", "mine.yaml; did you mean 'optim.layer_decay'?"),
        ([], "optim: {layer_decy: 0.5}", "mine.yaml; did you mean 'optim.layer_decay'?"),
        ([], "model: {layer_decay: 0.5}", "mine.yaml; it is optim.layer_decay now"),
        (["--model.lr", "1e-3"], "", "it is optim.lr now"),
        ([], "modle: {layer_decay: 0.5}", "unknown section 'modle' in"),
        ([], "optim: {base_lr: fast}", "optim.base_lr: got 'fast', expected a number or null, in"),
        (["--model.pooling", "max"], "", "model.pooling: got 'max', expected one of"),
        (["--optim.schedule", "cosin"], "", "'cosine'"),
        (["--data.total_batch_size", "many"], "", "got 'many', expected a whole number, in its flag"),
        (["stray"], "", "stray"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(flags: list[str], config: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        settings(*flags, config=config, folder=tmp_path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    if config:
        assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "config", "fine"),
    [
        (["--data.total_batch_size=32"], ABSOLUTE, False),
        (["--data.total_batch_size=32", "--optim.lr=5e-4"], ABSOLUTE, True),
        (["--data.total_batch_size=64"], ABSOLUTE, True),
        (["--optim.lr=5e-4", "--optim.base_lr=null"], "data: {total_batch_size: 32}", True),
        (["--data.total_batch_size=32"], "", True),
    ],
)  # fmt: skip
def test_an_absolute_lr_holds_for_its_own_batch(flags: list[str], config: str, fine: bool, tmp_path: Path) -> None:
    if fine:
        settings(*flags, config=config, folder=tmp_path)
        return
    with pytest.raises(UserError, match=r"for example --optim.lr 0.0005"):
        settings(*flags, config=config, folder=tmp_path)


def test_resolving_without_a_run_needs_neither_lightning_nor_the_compiler() -> None:
    import subprocess
    import sys

    code: Any = (
        "import sys; from maekit.cli import main; "
        "sys.argv[1:] = ['lr-table', '--task', 'imagenet_finetune', '--recipe', 'base', '--groups']; main(); "
        "sys.exit(bool({'lightning', 'torch._dynamo', 'sympy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 28


def test_one_batch_is_not_all_of_them() -> None:
    task = find_task("imagenet_finetune")
    for given, expected in (("1", int), ("1.0", float), ("0.5", float)):
        flags = [f"--trainer.limit_val_batches={given}", f"--trainer.val_check_interval={given}"]
        found = resolve(load_recipe(task, "smoke"), task.load(), flags, training=True).values["trainer"]
        for name in ("limit_val_batches", "val_check_interval"):
            assert type(found[name]) is expected and found[name] == float(given), (name, given)


def test_a_config_that_a_run_saved_keeps_its_recipe(tmp_path: Path) -> None:
    file, task = tmp_path / "config.yaml", find_task("imagenet_finetune")
    file.write_text(settings("--run.seed=5").yaml())
    again = load_recipe(task, None, [file])
    assert again.name == "smoke" and again.values["run"]["seed"] == 5
    assert load_recipe(task, "base", [file]).name == "base"
    assert load_recipe(find_task("imagenet_partial"), None, [file]).name != "smoke"
    file.write_text("run: {seed: 5}")
    assert load_recipe(task, None, [file]).name == load_recipe(task, None).name


def test_every_argument_of_the_trainer_is_a_flag_or_refused_with_a_reason() -> None:
    from lightning.pytorch import Trainer

    arguments = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    offered = {field.name for field in fields(TrainerOptions)}
    assert offered.isdisjoint(OWNED)
    assert offered | set(OWNED) == arguments
    assert all(OWNED.values())


def test_the_null_arguments_in_an_earlier_versions_config_are_passed_over(tmp_path: Path) -> None:
    assert "min_epochs" not in settings(config="trainer: {min_epochs: null}", folder=tmp_path).values["trainer"]
    with pytest.raises(UserError, match=r"trainer\.min_epochs"):
        settings(config="trainer: {min_epochs: 3}", folder=tmp_path)


@pytest.mark.parametrize("name", SHOWN)
def test_a_model_that_shows_its_images_itself_is_refused(name: str) -> None:
    """A method of an earlier version would be asked by nobody, also where it is inherited."""
    shipped: type = find_task("imagenet_finetune").load().Model
    settings_class(shipped)
    own = type("Own", (type("Old", (shipped,), {name: None}),), {})
    with pytest.raises(UserError, match=f"Own: got `{name}` on the model"):
        settings_class(own)


@pytest.mark.parametrize("flag", ["--optim.lr", "--model.lr"])
def test_a_task_that_evaluates_only_has_no_learning_rate(flag: str) -> None:
    recipe = load_recipe(find_task("imagenet_robustness"), "smoke")
    with pytest.raises(UserError, match=flag) as caught:
        resolve(recipe, recipe.task.load(), [flag, "1"], training=True)
    assert "evaluates only" in str(caught.value)
