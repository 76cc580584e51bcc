"""Training from scratch: what Table 11 of the MAE paper gives, and that no weights need be named."""

from typing import Any

import pytest
import torch

from maekit.cli import main
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.helpers_model import optimisation


def settings(name: str, *flags: str) -> Any:
    recipe = load_recipe(find_task("imagenet_scratch"), name)
    return resolve(recipe, recipe.task.load(), list(flags), training=True).values


@pytest.mark.parametrize(("name", "drop_path", "epochs"), [("base", 0.1, 300), ("large", 0.2, 200), ("huge", 0.2, 200)])
def test_a_recipe_is_table_11(name: str, drop_path: float, epochs: int) -> None:
    values = settings(name)
    model, data = values["model"], values["data"]
    published = {
        "weights": "none", "base_lr": 1e-4, "betas": [0.9, 0.95], "weight_decay": 0.3, "layer_decay": 1.0,
        "schedule": "cosine", "warmup_epochs": 20, "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0,
        "drop_path": drop_path, "ema_decay": 0.9999,
    }  # fmt: skip
    assert {key: {**model, **values["optim"]}[key] for key in published} == published
    assert (data["total_batch_size"], data["rand_augment"]) == (4096, "rand-m9-mstd0.5-inc1")
    assert (data["random_erasing"], values["trainer"]["max_epochs"]) == (0.0, epochs)


def test_every_layer_has_the_same_rate_and_it_is_the_published_one() -> None:
    recipe = load_recipe(find_task("imagenet_scratch"), "base")
    module = recipe.task.load()
    with torch.device("meta"):
        model = module.Model.build(module.Data.published, settings("base")["model"])
    rows = optimisation("imagenet_scratch", "base").rows(model, model.backbone, 4096)
    assert {row.lr for row in rows} == {1e-4 * 4096 / 256}
    assert {row.weight_decay for row in rows} == {0.0, 0.3}
    assert (
        optimisation("imagenet_scratch", "base").factor(93600, 312)(
            20 * 312, {"peak_lr": 1.6e-3, "lr_scale": 1.0, "lr": 1.6e-3}
        )
        == 1.0
    )


@pytest.mark.parametrize("given", ["1.0", "-0.1", "1.5"])
def test_a_decay_that_is_none_is_one_line(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--task", "imagenet_scratch", "--recipe", "smoke", f"--model.ema_decay={given}"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert f"model.ema_decay: got {float(given)}, expected a number in [0, 1)" in lines[0]
