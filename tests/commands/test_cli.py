"""The command line as typed: quick answers without torch, and one clear line for what is mistyped."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from maekit import commands
from maekit.cli import main
from tests.helpers_run import error_line


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["help"],
        ["tasks"],
        ["runs"],
        ["runs", "--json"],
        ["runs", "rm", "--help"],
        ["tasks", "--json"],
        ["show", "imagenet_finetune", "--recipe", "base"],
        ["fit", "--help"],
        ["fit", "--task", "imagenet_finetun"],
        ["fit", "--task", "imagenet_finetune", "--recipe", "bse"],
        ["fit", "--task", "imagenet_finetune", "--config", "none.yaml"],
        ["fit", "--task", "none.py"],
        ["fti"],
    ],
)
def test_answers_without_torch(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from maekit.cli import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'lightning', 'numpy', 'timm', 'jsonargparse'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_import_maekit_is_light() -> None:
    code = "import sys, maekit; assert not {'torch', 'numpy', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_attribute_of_the_package_says_what_there_is() -> None:
    import maekit

    with pytest.raises(AttributeError, match="load_backbone"):
        maekit.load_backbon  # noqa: B018


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fti"], "did you mean 'fit'?"),
        (["fit", "--task", "imagenet_finetun"], "did you mean 'imagenet_finetune'?"),
        (["fit", "--task", "imagenet_finetune", "--recipe", "bse"], "did you mean 'base'?"),
        (["show", "imagenet_finetune", "--recipe", "larg"], "did you mean 'large'?"),
        (["fit", "--ckpt_path", "last"], "no last.ckpt in any run under runs"),
        (["predict", "--ckpt_path", "best", "--images", "x"], "no best.ckpt in any run under runs"),
        (["fit"], "no task given; add --task NAME, one of: "),
        (["fit", "--tsk", "imagenet_finetune"], "did you mean '--task'?"),
        (["tasks", "--jsn"], "--jsn"),
        (["ps"], "maekit runs"),
        (["rm", "3"], "maekit runs rm"),
        (["runs", "--studes"], "--studies"),
        (["runs", "rm"], "RUN"),
        (["fit", "--task", "imagenet_finetune", "--config", "mine.yaml"], "no recipe file mine.yaml"),
        (["fit", "--task", "elsewhere/mine.py"], "no task file"),
        (["data", "make", "--task", "imagenet_finetune"], "--root"),
        (["fit", "--task", "imagenet_finetune", "--run.min_delta", "-1e-3"], "run.min_delta: got -0.001"),
        (["fit", "--task", "imagenet_finetune", "--run.min_delta", "-.inf"], "run.min_delta"),
        (["copy", "imagenet_finetune", "x", "--name", "a-b"], "letters, digits and underscores"),
    ],
)
def test_a_mistake_is_one_line_with_the_right_name(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in error_line(capsys, *words)


def test_verbose_shows_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-v"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_copy_gives_a_task_of_ones_own_and_overwrites_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["copy", "imagenet_finetune", str(tmp_path), "--name", "birds"]) == 0
    assert (tmp_path / "tasks/birds.py").is_file()
    assert (tmp_path / "configs/birds.yaml").is_file()
    assert (tmp_path / "configs/birds-smoke.yaml").is_file()
    assert main(["show", str(tmp_path / "tasks/birds.py"), "--recipe", "smoke", "--resolved"]) == 0
    capsys.readouterr()
    (tmp_path / "tasks/birds.py").write_text("mine")
    assert "exists already" in error_line(capsys, "copy", "imagenet_finetune", str(tmp_path), "--name", "birds")
    assert (tmp_path / "tasks/birds.py").read_text() == "mine"


@pytest.mark.parametrize("file", sorted(Path(commands.__path__[0]).glob("*.py")), ids=lambda file: file.stem)
def test_no_command_imports_another(file: Path) -> None:
    """What several of them use is in commands/shared."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    modules = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names]
    of_commands = [module for module in modules if module.startswith("maekit.commands.")]
    assert all(module.startswith("maekit.commands.shared.") for module in of_commands), of_commands
