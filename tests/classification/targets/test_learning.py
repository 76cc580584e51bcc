"""The smoke recipes, shortened: two digits an image and their sum are learned."""

import json
from pathlib import Path

import pytest

from maekit.cli import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("task", "epochs", "metric", "least"),
    [("multilabel_finetune", 3, "map", 0.95), ("regression_finetune", 9, "r2", 0.85)],
)
def test_pairs_of_digits_are_learned(
    task: str, epochs: int, metric: str, least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task", task, "--recipe", "smoke", f"--trainer.max_epochs={epochs}"]) == 0
    found = json.loads((tmp_path / "runs" / task / "smoke/0/metrics.json").read_text())
    assert found["best"]["metric"] == f"val/{metric}"
    assert found["best"]["value"] > least
