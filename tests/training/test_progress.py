"""What a run shows of its progress: piped, the first step at once; on a terminal, values that are not old."""

import io
import re
from pathlib import Path

import pytest

from maekit.cli import main
from tests.conftest import TINY, few_digits


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def fit(folder: Path, *flags: str) -> None:
    words = ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", "--data.root", str(few_digits()), *TINY]
    assert main([*words, f"--run.folder={folder}", "--trainer.max_steps=3", *flags]) == 0


def test_piped_the_first_step_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    first = r"step 1/3 epoch 1 loss \d+\.\d{4} lr \S+ img/s \d+.*  \d+:\d\d elapsed"
    assert re.fullmatch(first, said[0]), said
    assert said[1].startswith("step 3/3 val: "), said


def test_a_terminal_has_a_bar_in_fit_and_in_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("maekit.training.callbacks.progress.FRESH_SECONDS", 0.0)
    fit(tmp_path, "--trainer.log_every_n_steps=50")
    shown = screen.getvalue()
    losses = re.findall(r"loss (\d+\.\d+)", shown)
    assert "3/3" in shown and len(set(losses)) > 1, shown  # not that of the logged first step alone
    screen.truncate(0)
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    assert main(["validate", "--ckpt_path", str(checkpoint)]) == 0
    assert "validate" in screen.getvalue()
