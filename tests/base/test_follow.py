"""The backbone follows the weights: a recipe's is a default, and one that the user says must be the file's."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import maekit
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.base.follow import follow_weights, held_by
from maekit.cli import main
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import Settings, resolve
from maekit.recipes.tasks import find_task
from maekit.weights.state.backbone_of import backbones_of
from maekit.weights.state.state_file import read_state
from tests.conftest import TINY, few_digits
from tests.weights.helpers import encoder, released

SMALL = "vit_test_patch8"  # the smoke recipes have vit_smoke_patch8


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file of the test size, as facebookresearch/mae saves one."""
    return released(tmp_path / "small.pth", encoder())


def empty(path: Path, backbone: str) -> Path:
    """A file of a ViT of any size, all zeros, which takes little room on the disk."""
    with torch.device("meta"):
        vit = ViT(load_size(backbone), image_size=(224, 224))
    return released(path, {name: torch.zeros(1).expand(tensor.shape) for name, tensor in vit.state_dict().items()})


def followed(task: str, *flags: str, recipe: str = "smoke", config: tuple[Path, ...] = ()) -> tuple[Settings, str]:
    """The settings that follow their weights, and the line that says so."""
    stacked = load_recipe(find_task(task), recipe, config)
    module = stacked.task.load()
    settings = resolve(stacked, module, flags, training=True)
    lines = follow_weights(settings, module.Model)
    assert len(lines) < 2
    return settings, "".join(lines)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_recipe_gives_way_to_the_file(small: Path) -> None:
    settings, line = followed("imagenet_finetune", f"--model.weights={small}")
    assert settings.values["model"]["backbone"] == SMALL
    assert line == (
        f"backbone {SMALL}, as {small} has it; the recipe smoke has vit_smoke_patch8, for which its other numbers are"
    )
    assert followed("imagenet_finetune", f"--model.weights={small}", f"--model.backbone={SMALL}")[1] == ""
    for weights in ("none", "mae_vit_smoke"):
        settings, line = followed("imagenet_finetune", f"--model.weights={weights}")
        assert (settings.values["model"]["backbone"], line) == ("vit_smoke_patch8", "")


def test_a_recipe_of_the_files_size_is_named(tmp_path: Path) -> None:
    file = empty(tmp_path / "base.pth", "vit_base_patch16")
    _, line = followed("imagenet_finetune", f"--model.weights={file}", recipe="huge")
    assert line.endswith("; the recipe huge has vit_huge_patch14, for which its other numbers are: --recipe base has "
                         "those of this size")  # fmt: skip
    settings, line = followed("ade20k_linear", f"--model.weights={file}", recipe="large")
    assert settings.values["model"]["backbone"] == "vit_base_patch16" and "--recipe base " in line
    for recipe in ("base", "few"):
        assert followed("ade20k_upernet", f"--model.weights={file}", recipe=recipe)[1] == ""


def test_another_backbone_than_the_files_is_refused(small: Path, tmp_path: Path) -> None:
    text = refusal(
        lambda: followed("imagenet_finetune", f"--model.weights={small}", "--model.backbone=vit_smoke_patch8")
    )
    assert text == (
        f"got model.backbone vit_smoke_patch8 with {small}, expected {SMALL}, which it holds; leave --model.backbone "
        "out, or name weights of vit_smoke_patch8"
    )
    own = tmp_path / "mine.yaml"
    own.write_text("model: {backbone: vit_smoke_patch8}\n")
    text = refusal(lambda: followed("imagenet_finetune", f"--model.weights={small}", config=(own,)))
    assert f"take model.backbone out of {own}, or add --model.backbone {SMALL}, or name" in text
    assert followed("imagenet_finetune", f"--model.backbone={SMALL}")[1] == ""  # the load refuses the recipe's weights
    changed = f"--model.weights={small}", f"--model.backbone={SMALL}"
    assert followed("imagenet_finetune", *changed, config=(own,))[0].values["model"]["backbone"] == SMALL


def test_blocks_of_another_depth_are_refused_with_those_to_type(small: Path) -> None:
    """Block 3 of 4 is not block 3 of 12: the recipe's blocks would be taken too early, or not be there."""
    weights = f"--model.weights={small}"
    text = refusal(lambda: followed("ade20k_upernet", weights))
    assert text == (
        f"got model.taps [0, 1, 2, 3], which the recipe smoke has for 4 blocks, expected some of the 3 of {small} "
        f"({SMALL}); add --model.taps [0,1,1,2]"
    )
    text = refusal(lambda: followed("coco_maskrcnn", weights))
    assert "got model.global_blocks [1, 3] and model.taps [3], which" in text
    assert text.endswith("; add --model.global_blocks [1,2] --model.taps [2]")
    settings, _ = followed("coco_maskrcnn", weights, "--model.global_blocks=[1,2]", "--model.taps=[2]")
    assert settings.values["model"]["backbone"] == SMALL


def test_blocks_of_the_published_sizes_follow_each_other(tmp_path: Path) -> None:
    """UperNet's and ViTDet's published blocks of B, L and H are each other's by the same rule."""
    others = {"base": "huge", "large": "base", "huge": "large"}
    for own, name in (("base", "vit_base_patch16"), ("large", "vit_large_patch16"), ("huge", "vit_huge_patch14")):
        file = empty(tmp_path / f"{name}.pth", name)
        for task, keys in (("ade20k_upernet", ["taps"]), ("coco_maskrcnn", ["global_blocks", "taps"])):
            model = load_recipe(find_task(task), own).values["model"]
            expected = " ".join(f"--model.{key} {model[key]}".replace(", ", ",") for key in keys)
            text = refusal(partial(followed, task, f"--model.weights={file}", recipe=others[own]))
            assert text.endswith(f"; add --recipe {own}, or {expected}")


def test_dense_tasks_resample_patches_and_others_take_the_files(tmp_path: Path) -> None:
    """512 px are no multiple of DINOv2's 14, as they are none of ViT-H's; 224 px are."""
    file = empty(tmp_path / "dinov2.pth", "vit_base_patch14_dinov2")
    settings, line = followed("ade20k_upernet", f"--model.weights={file}", recipe="base")
    assert settings.values["model"]["backbone"] == "vit_base_patch16_dinov2"
    assert line == (
        f"backbone vit_base_patch16_dinov2, as {file} has it; the recipe base has vit_base_patch16; patch filters are "
        "resampled from 14 to 16 px, the recipe's patch: --model.backbone vit_base_patch14_dinov2 keeps them, with "
        "images of multiples of 14"
    )
    own = "--model.backbone=vit_base_patch14_dinov2"
    assert followed("ade20k_upernet", f"--model.weights={file}", own, recipe="base")[1] == ""
    settings, line = followed("imagenet_finetune", f"--model.weights={file}", recipe="base")
    assert settings.values["model"]["backbone"] == "vit_base_patch14_dinov2" and "resampled" not in line


def test_every_command_has_the_files_backbone(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--task", "imagenet_finetune", "--recipe", "smoke", "--model.weights", str(small)]
    assert main(["fit", *words, "--print_config"]) == 0
    said = capsys.readouterr()
    assert yaml.safe_load(said.out)["model"]["backbone"] == SMALL
    assert said.err.startswith(f"maekit: backbone {SMALL}, as {small} has it; ")
    assert main(["lr-table", *words, "--json"]) == 0
    rows = {row["name"]: row["layer"] for row in json.loads(capsys.readouterr().out)["parameters"]}
    assert rows["backbone.blocks.2.norm1.weight"] == 3 and "backbone.blocks.3.norm1.weight" not in rows
    assert main(["plan", *words, "--devices", "1x8GiB", "--json"]) == 0
    said = capsys.readouterr()
    assert f"backbone {SMALL}" in said.err and json.loads(said.out)


def test_weights_that_are_not_there_are_left_alone_until_they_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lr-table` and `plan` need none: neither a download nor a file of another machine stops them."""
    words = ["--task", "imagenet_finetune", "--recipe", "base", "--model.weights", "mae_vit_large"]
    assert main(["lr-table", *words, "--json"]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)["parameters"]) == 12 * 24 + 8
    assert "backbone vit_large_patch16, as mae_vit_large has it; the recipe base has" in said.err
    for weights in (str(tmp_path / "of_the_cluster.pth"), "hf:somebody/vit"):
        words = ["--task", "imagenet_finetune", "--recipe", "base", "--model.weights", weights]
        assert main(["lr-table", *words, "--json"]) == 0
        said = capsys.readouterr()
        assert len(json.loads(said.out)["parameters"]) == 12 * 12 + 8
        assert f"{weights} is not on this machine: the backbone is taken to be vit_base_patch16" in said.err
    with pytest.raises(UserError, match=r"no file .*of_the_cluster.pth"):
        maekit.build("imagenet_finetune", "smoke", {"model.weights": str(tmp_path / "of_the_cluster.pth")})
    (tmp_path / "broken.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{" + b"x" * 64)
    broken = str(tmp_path / "broken.safetensors")
    assert main(["lr-table", "--task", "imagenet_finetune", "--model.weights", broken]) == 2
    assert "is cut short or damaged" in capsys.readouterr().err


def test_a_run_keeps_the_backbone_and_needs_no_weights_to_go_on(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [flag for flag in TINY if not flag.startswith(("--model.backbone", "--model.weights"))]
    flags += [f"--data.root={few_digits()}", f"--run.folder={tmp_path / 'runs'}", f"--model.weights={small}"]
    words = ["--task", "imagenet_finetune", "--recipe", "smoke", *flags]
    assert main(["fit", *words, "--trainer.max_steps=2"]) == 0
    assert f"\nbackbone {SMALL}, as {small} has it" in f"\n{capsys.readouterr().out}"
    run = tmp_path / "runs/imagenet_finetune/smoke/0"
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["backbone"] == SMALL
    assert held_by(run / "last.ckpt").backbones == backbones_of(run / "last.ckpt") == (SMALL,)
    small.unlink()
    again = "--trainer.max_steps=3", f"--ckpt_path={run}", "--run.extend=true"
    assert main(["fit", *words, *again]) == 0
    assert "resume " in capsys.readouterr().out
    assert main(["validate", *words, f"--ckpt_path={run}"]) == 0
    capsys.readouterr()
    assert main(["validate", *words, f"--ckpt_path={run}", "--model.backbone=vit_smoke_patch8"]) == 2
    assert f"got model.backbone vit_smoke_patch8 with {run / 'best.ckpt'}, expected {SMALL}" in capsys.readouterr().err
    assert main(["fit", *words, "--print_config", f"--ckpt_path={run}"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["backbone"] == SMALL


def test_a_session_has_it_too(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = {"data.root": few_digits(), "model.weights": small, "data.num_workers": 0}
    session = maekit.build("imagenet_finetune", "smoke", overrides)
    assert session.model.backbone.num_blocks == 3 and f"backbone {SMALL}" in capsys.readouterr().out
    report = session.model.load_start(complete=False)
    assert report is not None and report.coverage > 0.99


def test_no_number_of_a_file_is_read(small: Path) -> None:
    state, outline = read_state(small), read_state(small, values=False)
    assert all(tensor.is_meta for tensor in outline.tensors.values())
    assert {name: t.shape for name, t in outline.tensors.items()} == {n: t.shape for n, t in state.tensors.items()}
    assert backbones_of(small) == (SMALL,)
