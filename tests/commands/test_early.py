"""What is wrong with a command is answered before torch is imported, and before a large model is built."""

import subprocess
import sys
from pathlib import Path

import pytest

from maekit.cli import main
from maekit.commands.shared.early import first_line
from maekit.recipes.recipe import load_recipe
from maekit.recipes.remembered import remember
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.conftest import few_digits

TASK = "imagenet_finetune"
PROGRAM = """
import sys
from maekit.cli import main
status = main(sys.argv[1:])
assert not {"torch", "lightning", "timm"} & set(sys.modules)
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("flags", "fact", "kept"),
    [
        (["--epochs", "5"], "--trainer.max_epochs", True),
        (["--optim.layer_decay=x"], "optim.layer_decay", False),
        (["--data.root=nowhere"], "nowhere: no such folder", True),
        (["--model.weights=nosuch"], "nosuch", False),
        (["--ckpt_path=runs/none"], "runs/none", False),
    ],
)
def test_a_mistake_is_answered_without_torch(
    flags: list[str], fact: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    if kept:
        remember(find_task(TASK), find_task(TASK).load())
    command = [sys.executable, "-c", PROGRAM, "fit", "--task", TASK, "--recipe", "smoke", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and fact in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_is_answered_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-c", PROGRAM, "fit", "--task", TASK, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "--data.root" in done.stdout, done.stderr


def test_too_few_images_are_counted_before_the_model_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(find_task(TASK).load().Model, "build", build)
    words = ["fit", "--task", TASK, "--data.root", str(few_digits()), "--model.weights=none"]
    assert main([*words, f"--run.folder={tmp_path}"]) == 2
    assert "80 training images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "end"), [([], "on photos"), (["--model.weights", "none"], "on photos, from random weights")]
)
def test_the_first_line_says_what_is_known(flags: list[str], end: str) -> None:
    recipe = load_recipe(find_task(TASK), "few")
    settings = resolve(recipe, recipe.task.load(), ["--data.root", "photos", *flags], training=True)
    assert first_line(settings) == f"task    {TASK}, recipe few, {end}"
