"""The file of weights that comes with the package: small, honest about itself, and of use."""

import json
from pathlib import Path

import pytest
import torch

from maekit.cli import main
from maekit.data.digit_scenes import ADE_FORM, scenes_root
from maekit.data.images.decode import read_image
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.pretraining.from_weights import load_pretrainer
from maekit.pretraining.masking import fixed_noise
from maekit.pretraining.target import psnr
from maekit.pretraining.unlabelled import list_images
from maekit.recipes.recipe import load_recipe, recipe_names
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import Task, shipped_tasks
from maekit.weights.describe.inspect import inspect
from maekit.weights.get.find import find_weights, shipped_weights
from maekit.weights.state.state_file import read_state

NAME = "mae_vit_smoke"
STARTED_FROM_IT = [
    task
    for task in shipped_tasks()
    if "smoke" in recipe_names(task) and load_recipe(task, "smoke").values["model"].get("weights") == NAME
]


def test_it_is_small_and_says_how_it_was_made() -> None:
    path = find_weights(NAME)
    assert path.stat().st_size < 2_000_000
    assert shipped_weights() == {NAME: path}
    card = read_state(path).meta["maekit"]
    assert isinstance(card, dict)
    assert card["command"] == "maekit fit --task mae_pretrain --recipe smoke"
    assert card["seed"] == 0
    assert len(card["commit"]) >= 7
    assert card["licence"] == "Apache-2.0"
    assert {"loss", "psnr", "knn_top1", "probe_top1"} <= card["results"].keys()
    facts = inspect(path)
    assert (facts.kind, facts.coverage, facts.norm_pix_loss) == ("pretraining", 1.0, False)


@pytest.mark.parametrize("task", STARTED_FROM_IT, ids=lambda task: task.name)
def test_every_smoke_recipe_that_starts_from_it_takes_the_whole_backbone(task: Task) -> None:
    recipe = load_recipe(task, "smoke")
    module = task.load()
    values = resolve(recipe, module, [], training=True).values
    data = module.Data(**values["data"])
    data.setup()
    torch.manual_seed(0)
    model = module.Model.build(data.spec(), values["model"])
    report = model.load_start(complete=False)
    assert report is not None
    used = {*report.matched, *report.resized}
    assert {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.3.mlp.fc2.weight"} <= used
    assert report.coverage > 0.9  # relative positions are new


def test_there_are_tasks_that_start_from_it() -> None:
    assert len(STARTED_FROM_IT) >= 5


def test_it_reconstructs_unseen_scenes_better_than_their_visible_colour() -> None:
    path = find_weights(NAME)
    model = load_pretrainer(path, mask_ratio=0.75, norm_pix_loss=None).eval()
    card = read_state(path).meta["maekit"]
    assert isinstance(card, dict)
    transform = EvalTransform(image_size=64, crop_fraction=1.0, mean=card["mean"], std=card["std"])
    _, scenes = list_images(scenes_root(ADE_FORM) / "images")
    assert scenes is not None
    images = torch.stack([transform(read_image(scenes.path(index))) for index in range(16)])
    noise = fixed_noise("random", range(16), (8, 8), 0.75)
    found = model.reconstruct(images, noise)
    hidden = found.masked_patches.reshape(16, 8, 8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    flat = []
    for image, mask, quality in zip(found.original, hidden, found.psnr, strict=True):
        true, colour = image[:, mask].T[None], image[:, ~mask].mean(1)
        flat.append(float(psnr(colour.expand_as(true), true)))
        assert quality > flat[-1] - 1
    assert found.psnr.mean() > 15
    assert found.psnr.mean() > sum(flat) / len(flat) + 1


def test_a_name_nearly_right_is_answered_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="did you mean 'mae_vit_smoke'"):
        find_weights("mae_vit_smok")


def test_an_evaluation_is_kept_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    task = next(task.name for task in shipped_tasks() if task.load().Model.evaluates_only)
    command = [
        "validate",
        "--task",
        task,
        "--recipe",
        "smoke",
        "--model.weights",
        "none",
        "--trainer.limit_val_batches=2",
    ]
    assert main([*command, "--output", "kept", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = json.loads((tmp_path / "kept" / "metrics.json").read_text())
    assert kept["val"] == printed
    names = ["config.yaml", "environment.json", "metrics.json", "robustness.json"]
    assert [file.name for file in sorted((tmp_path / "kept").iterdir())] == names
    (tmp_path / "file").write_text("")
    assert main([*command, "--output", "file"]) == 2
    assert "--output file: cannot be written" in capsys.readouterr().err
    assert main(["lr-table", "--task", task]) == 2
    assert "evaluates only" in capsys.readouterr().err
