"""Partial fine-tuning: which parameters learn, that the others are a fixed function, and that the gradients are those
of full fine-tuning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.api import build
from maekit.backbone.freeze import tune_last_blocks
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.base.spec import DataSpec
from maekit.cli import main
from maekit.commands.shared.loaded_model import load_model
from maekit.data.images.batch import ImageBatch
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.conftest import TINY, few_digits
from tests.helpers_model import optimisation
from tests.numeric import assert_fp32

LINEAR = {"head.fc.weight", "head.fc.bias"}
NORM = {"backbone.norm.weight", "backbone.norm.bias"}
MLP = {f"{part}.{kind}" for part in ("norm2", "mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")}
BLOCK = MLP | {f"{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj") for kind in ("weight", "bias")}
EMBEDDINGS = {
    f"backbone.{name}" for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")
}


def of_block(index: int, names: set[str]) -> set[str]:
    return {f"backbone.blocks.{index}.{name}" for name in names}


# of vit_test_patch8, which has three blocks
TUNED: dict[float, set[str]] = {
    0: LINEAR,
    0.5: LINEAR | NORM | of_block(2, MLP),
    1: LINEAR | NORM | of_block(2, BLOCK),
    2: LINEAR | NORM | of_block(2, BLOCK) | of_block(1, BLOCK),
    3: LINEAR | NORM | of_block(2, BLOCK) | of_block(1, BLOCK) | of_block(0, BLOCK) | EMBEDDINGS,
}


def model(tuned: float | None, task: str = "imagenet_partial", **overrides: Any) -> Any:
    recipe = load_recipe(find_task(task), "smoke")
    module = recipe.task.load()
    flags = {"backbone": "vit_test_patch8", "pooling": "class", **overrides}
    if tuned is not None:
        flags["tuned_blocks"] = tuned
    words = [f"--model.{key}={value}" for key, value in flags.items()]
    values = resolve(recipe, module, words, training=False).values["model"]
    torch.manual_seed(0)
    return module.Model.build(DataSpec(tuple(f"c{i}" for i in range(7)), (16, 24)), values).train()


def batch(size: int = 6) -> ImageBatch:
    images = torch.randn(size, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    return ImageBatch(images, torch.arange(size) % 7, torch.arange(size))


def gradients(net: Any, seed: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    net.training_losses(batch())["loss"].backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tuned", TUNED)
def test_what_is_tuned_is_what_changes_and_the_rest_stays_bit_for_bit(tuned: float) -> None:
    net = model(tuned)
    assert {name for name, p in net.named_parameters() if p.requires_grad} == TUNED[tuned]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = optimisation("imagenet_partial").make_optimizer(net, net.backbone, 32)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    found = gradients(net)
    assert found.keys() == TUNED[tuned]  # one without a gradient breaks DDP
    optimizer.step()
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == TUNED[tuned]


@pytest.mark.numeric
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tuned", TUNED)
def test_gradients_are_those_of_full_fine_tuning(tuned: float, checkpointing: bool) -> None:
    whole = gradients(model(None, "imagenet_finetune"))
    part = gradients(model(tuned, gradient_checkpointing=checkpointing))
    for name in TUNED[tuned]:
        assert_fp32(part[name], whole[name], msg=name)  # the loss is computed in fp32


def test_with_mean_pooling_the_heads_own_norm_is_tuned_and_no_other() -> None:
    heads = {"head.fc_norm.weight", "head.fc_norm.bias"}
    for tuned in (0, 1):
        net = model(tuned, pooling="mean")
        assert {name for name, p in net.named_parameters() if p.requires_grad} == (TUNED[tuned] | heads) - NORM


@pytest.mark.parametrize(("tuned", "rates"), [(0, [0, 0, 0]), (0.5, [0, 0, 0]), (1, [0, 0, 0.4]), (3, [0, 0.2, 0.4])])
def test_only_whole_tuned_blocks_have_drop_path(tuned: float, rates: list[float]) -> None:
    net = model(tuned, drop_path=0.4)
    assert [block.drop_path for block in net.backbone.blocks] == pytest.approx(rates)


def test_frozen_blocks_draw_nothing_and_keep_no_graph() -> None:
    net = model(1, drop_path=0.9)
    seen: list[Tensor] = []
    net.backbone.blocks[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for seed in (0, 1):
        torch.manual_seed(seed)
        net(batch().image)
    assert torch.equal(*seen)
    assert not seen[0].requires_grad


def test_gradient_checkpointing_recomputes_tuned_blocks_only() -> None:
    net = model(1, gradient_checkpointing=True)
    runs = [0, 0, 0]

    def count(index: int) -> None:
        runs[index] += 1

    for index, block in enumerate(net.backbone.blocks):
        block.attn.register_forward_pre_hook(lambda *_, index=index: count(index))
    gradients(net)
    assert runs == [1, 1, 2]


@pytest.mark.parametrize("tuned", [0, 0.5, 1, 2, 4, 6, 12, 18, 24])
def test_rates_of_tuned_layers_are_those_of_full_fine_tuning(tuned: float) -> None:
    recipe = load_recipe(find_task("imagenet_partial"), "large")
    module = recipe.task.load()
    values = resolve(recipe, module, [f"--model.tuned_blocks={tuned}"], training=False).values["model"]
    with torch.device("meta"):
        net = module.Model.build(DataSpec(tuple(map(str, range(1000))), (224, 224)), values)
    found = {row.layer: row.lr for row in optimisation("imagenet_partial", "large").rows(net, net.backbone, 1024)}
    # published: 1e-3 x 1024 / 256, times 0.75 a layer below the head; block i of 24 (from 0) is layer i + 1
    first = 0 if tuned == 24 else 24 - int(tuned) + 1 if tuned >= 1 else 24 if tuned else 25
    assert found == pytest.approx({layer: 4e-3 * 0.75 ** (25 - layer) for layer in range(first, 26)})


def test_what_blocks_share_is_tuned_with_all_of_them_only() -> None:
    for tuned, trained in ((2, False), (3, True)):
        vit = ViT(load_size("vit_test_patch8"), image_size=(32, 32), relative_position="shared", class_token=False)
        tune_last_blocks(vit, tuned)
        assert vit.shared_bias is not None
        assert {p.requires_grad for p in vit.shared_bias.parameters()} == {trained}


def test_layer_scale_goes_with_its_sub_block() -> None:
    vit = ViT(load_size("vit_test_patch8"), image_size=(32, 32), layer_scale=0.1)
    tune_last_blocks(vit, 0.5)
    assert [name for name, p in vit.named_parameters() if p.requires_grad and "gamma" in name] == ["blocks.2.gamma_2"]


@pytest.mark.parametrize("given", ["-1", "0.7", "4", "99"])
def test_another_number_of_blocks_is_one_line(
    given: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--task", "imagenet_partial", "--recipe", "smoke", *TINY, f"--model.tuned_blocks={given}"]
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert f"got tuned_blocks {given}, expected 0 (the head alone), 0.5" in lines[0]
    assert "from 1 to 3, the blocks of this ViT; set --model.tuned_blocks" in lines[0]


@pytest.mark.parametrize("given", ["nan", "inf", "half"])
def test_what_is_no_number_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=f"model.tuned_blocks: got '{given}', expected a number"):
        model(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [float("nan"), float("inf"), -0.5, 1.5])
def test_python_gets_the_same_answer(given: float) -> None:
    with pytest.raises(UserError, match=f"got tuned_blocks {given:g}, expected 0"):
        tune_last_blocks(ViT(load_size("vit_test_patch8"), image_size=(32, 32)), given)


def test_weights_are_loaded_whole_and_reported_whatever_is_frozen(tmp_path: Path) -> None:
    net = model(1)
    state = {name: torch.randn_like(tensor) for name, tensor in net.backbone.state_dict().items()}
    torch.save({"model": state | {"mask_token": torch.zeros(1, 1, 8)}}, tmp_path / "pre.pth")
    net.weights = str(tmp_path / "pre.pth")
    report = net.load_start(complete=False)
    assert (report.coverage, set(report.new), list(report.unused)) == (1.0, LINEAR, ["mask_token"])
    for name, tensor in net.backbone.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    del state["blocks.0.mlp.fc1.bias"]
    torch.save({"model": state}, tmp_path / "pre.pth")
    with pytest.raises(UserError, match=r"blocks\.0\.mlp\.fc1\.bias"):
        net.load_start(complete=False)


def test_a_run_keeps_what_is_frozen_and_its_checkpoint_predicts(tmp_path: Path) -> None:
    values: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    values |= {"data.root": str(few_digits()), "run.folder": str(tmp_path), "trainer.max_steps": 2}
    run = build("imagenet_partial", "smoke", {**values, "model.tuned_blocks": 0.5})
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    file = Path(run.fit()["folder"]) / "last.ckpt"
    loaded, card = load_model(file, "cpu")
    assert card.config["model"]["tuned_blocks"] == 0.5
    changed = {name for name, tensor in loaded.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == TUNED[0.5]
    assert {name for name, p in loaded.named_parameters() if p.requires_grad} == TUNED[0.5]
    images = batch().image
    torch.testing.assert_close(loaded(images), run.model.eval()(images), rtol=0, atol=0)
