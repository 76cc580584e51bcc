"""A run of a version that kept the optimizer's settings under `model` compares as equal to the same run of today."""

import json
from pathlib import Path

import pytest
import yaml

from maekit.cli import main
from maekit.paper.fill import fill
from maekit.paper.tables import load_table
from maekit.report.runs.overview import overview_document
from maekit.report.runs.side_by_side import groups
from maekit.runs.differences import Difference, differences
from maekit.runs.read import read_run
from tests.paper import helpers as helpers_paper
from tests.report.helpers import make_run

RECIPE = {"lr": 0.001, "layer_decay": 0.75, "schedule": "cosine"}  # of the optimizer
REST = {"trainer": {"max_epochs": 10}, "data": {"root": "/d"}, "run": {"seed": 0}}


def write_config(folder: Path, section: str, **changed: object) -> None:
    """Writes the optimizer's settings under a section, in all files of a run that name them."""
    values = {**RECIPE, **changed}
    model: dict[str, object] = {"drop_path": 0.1}
    sections = {"model": {**model, **values}} if section == "model" else {"model": model, "optim": values}
    (folder / "config.yaml").write_text(yaml.safe_dump({**sections, **REST}))
    environment = json.loads((folder / "environment.json").read_text())
    recipe = {**{f"{section}.{key}": value for key, value in RECIPE.items()}, "model.drop_path": 0.1}
    command = [
        "maekit",
        "fit",
        *(word for key, value in changed.items() for word in (f"--{section}.{key}", f"{value}")),
    ]
    given = [f"{section}.{key}" for key in changed]
    changes = {"recipe_values": recipe, "given": given, "defaults": dict.fromkeys(given), "command": command}
    (folder / "environment.json").write_text(json.dumps({**environment, **changes}))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """An old run and a new one of the same settings, with another weight decay than the default."""
    old, new = (make_run(tmp_path / name) for name in ("old", "new"))
    write_config(old, "model", weight_decay=0.1)
    write_config(new, "optim", weight_decay=0.1)
    return old, new


def test_an_old_and_a_new_run_are_of_the_same_settings(pair: tuple[Path, Path]) -> None:
    old, new = map(read_run, pair)
    assert old.flat_config == new.flat_config
    assert old.recipe_values == new.recipe_values
    assert differences(old) == differences(new) == [Difference("optim.weight_decay", None, 0.1)]
    assert len(groups([old, new])) == 1
    assert "2 runs" in overview_document([old, new], "now").title


def test_compare_finds_no_difference(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, pair), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["differences"], found["not_in_all"]) == ([], [])


def test_an_old_run_without_layer_decay_has_that_of_today(tmp_path: Path) -> None:
    """Linear probes and pre-training had no such key."""
    folder = make_run(tmp_path / "old")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"lr": 1.0, "schedule": "cosine"}, **REST}))
    config = read_run(folder).flat_config
    assert (config["optim.lr"], config["optim.layer_decay"]) == (1.0, 1.0)
    assert "model.lr" not in config


def test_an_old_run_fills_its_cell_of_the_paper(tmp_path: Path) -> None:
    weights = "mae_pretrain_vit_base.pth"
    folder = helpers_paper.make_run(tmp_path / "r", "imagenet_finetune", "base", {"top1": 83.6}, weights=weights)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"] |= config.pop("optim")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = json.loads((folder / "environment.json").read_text())
    recipe = {key.replace("optim.", "model."): value for key, value in environment["recipe_values"].items()}
    (folder / "environment.json").write_text(json.dumps({**environment, "recipe_values": recipe}))
    [place] = [place for place in fill(load_table("3"), [read_run(folder)], "final") if place.groups]
    assert place.own is not None
    assert place.own.verdict == "within"
