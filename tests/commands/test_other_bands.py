"""Commands that read pictures refuse weights of bands whose file does not say how pictures of them are read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from maekit import cli
from maekit.base.spec import DataSpec
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task

BANDS = ("R", "G", "B", "NIR")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A pre-training of four bands, as a run keeps it, whose input transform says nothing of them."""
    stacked = load_recipe(find_task("mae_pretrain"), "smoke")
    module: Any = stacked.task.load()
    values = resolve(stacked, module, ["--model.weights=none"], training=False).values
    half = [0.5] * len(BANDS)
    spec = DataSpec((), (64, 64), mean=tuple(half), std=tuple(half), target="none", bands=BANDS)
    model = module.Model.build(spec, values["model"])
    card = {
        "task": "mae_pretrain", "recipe": "smoke", "config": values, "target": "none", "bands": list(BANDS),
        "image_size": [64, 64], "step": 1, "input": {"mean": half, "std": half},
    }  # fmt: skip
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "maekit": card}, tmp_path / "best.ckpt")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "a.png")
    return tmp_path / "best.ckpt"


@pytest.mark.parametrize("command", ["embed", "reconstruct", "predict", "attention"])
def test_pictures_of_unknown_bands_are_not_read(
    weights: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = str(weights.parent / "photos"), str(weights.parent / "out")
    words = {
        "predict": ["--ckpt_path", str(weights), "--images", photos, "--output", out],
        "embed": [photos, "--weights", str(weights), "--output", out],
        "attention": [photos, "--weights", str(weights), "--output", out],
        "reconstruct": [photos, "--weights", str(weights), "--output", out],
    }[command]
    assert cli.main([command, *words]) != 0
    error = capsys.readouterr().err
    assert "R, G, B, NIR" in error and "does not say how files of them are read" in error
    assert not list(Path(out).rglob("*.png"))


def test_inspect_names_the_bands(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "inspect", str(weights)]) == 0
    assert "4 bands (R, G, B, NIR)" in capsys.readouterr().out
