"""The smoke recipes, the README's first command among them, learn digit scenes, and their checkpoints serve."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.cli import main
from maekit.data.digit_scenes import ADE_FORM, scenes_root

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("task", "least"), [("ade20k_upernet", 50), ("ade20k_linear", 20)])
def test_a_smoke_recipe_learns(
    task: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The least mIoU on scenes of digits it never saw, of which background everywhere has less than 10."""
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task", task, "--recipe", "smoke"]) == 0
    run = tmp_path / "runs" / task / "smoke/0"
    best = json.loads((run / "metrics.json").read_text())["best"]
    images, labels = (scenes_root(ADE_FORM) / part / "validation" for part in ("images", "annotations"))
    truth = np.concatenate([np.asarray(Image.open(file)).ravel() for file in sorted(labels.iterdir())])
    chance = 100 * (truth == 1).mean() / 11  # of background everywhere: its share is its IoU, all others' is 0
    assert chance < 10
    assert best["value"] > least >= 2 * chance
    assert len(list((run / "pictures").iterdir())) == 2

    capsys.readouterr()
    assert main(["validate", "--ckpt_path", str(run / "best.ckpt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["mIoU"] == best["value"]

    assert main(["predict", "--ckpt_path", str(run / "best.ckpt"), "--images", str(images)]) == 0
    files = sorted((tmp_path / "predictions").glob("*_labels.png"))
    found = np.concatenate([np.asarray(Image.open(file)).ravel() for file in files]) + 1
    both = np.array([((found == label) & (truth == label)).sum() for label in range(1, 12)])
    either = np.array([((found == label) | (truth == label)).sum() for label in range(1, 12)])
    assert 100 * (both / either).mean() == pytest.approx(best["value"], abs=1e-3)
