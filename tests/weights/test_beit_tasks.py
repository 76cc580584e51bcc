"""BEiT under two heads: its own tables and scales are loaded, not begun anew, and layer decay counts them by block."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.backbone.table_resize import resize_bias_table
from maekit.base.spec import DataSpec
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.weights.plain_vits import beit, beit_pretrained

pytestmark = pytest.mark.numeric

SMALL = {"ade20k_upernet": {"taps": "[0,1,1,2]", "head_channels": 24, "aux_channels": 16}, "imagenet_finetune": {}}


def build(task: str, weights: Path) -> tuple[Any, dict[str, Any]]:
    """A model of the smoke recipe on the smallest BEiT, and the recipe's values."""
    recipe = load_recipe(find_task(task), "smoke")
    module = recipe.task.load()
    model = {"backbone": "vit_test_patch8_beit", "weights": str(weights), **SMALL[task]}
    flags = [f"--model.{key}={value}" for key, value in model.items()]
    values = resolve(recipe, module, flags, training=True).values
    torch.manual_seed(0)
    return module.Model.build(DataSpec(tuple("abcdefg"), (64, 64)), values["model"]), values


@pytest.mark.parametrize("task", SMALL)
def test_its_own_tables_and_scales_are_loaded(tmp_path: Path, task: str) -> None:
    source = beit(shared=True)
    torch.save({"model": beit_pretrained(source, second=False)}, tmp_path / "beit.pth")
    model, _ = build(task, tmp_path / "beit.pth")
    report = model.load_start(complete=False)
    assert not [name for name in report.new if not name.startswith("head.")]
    assert report.coverage == 1.0
    assert report.grids == ((4, 4), (8, 8))
    assert list(report.resized) == [f"blocks.{index}.attn.position.table" for index in range(3)]
    expected = resize_bias_table(source.rel_pos_bias.relative_position_bias_table.detach(), (4, 4), (8, 8))
    for index, block in enumerate(model.backbone.blocks):
        torch.testing.assert_close(block.attn.position.table, expected)
        torch.testing.assert_close(block.gamma_1, source.blocks[index].gamma_1)
        assert not block.attn.qkv.bias.chunk(3)[1].any()
    assert {name.split(".")[0] for name in report.unused} >= {"lm_head", "encoder_mask_token", "norm"}


@pytest.mark.parametrize("task", SMALL)
def test_layer_decay_counts_tables_and_scales_by_block(tmp_path: Path, task: str) -> None:
    """As BEiT's get_num_layer_for_vit and get_parameter_groups: scales are not decayed, tables are."""
    model, values = build(task, tmp_path / "beit.pth")
    optim = Optimisation(**values["optim"])
    rows = {row.name: row for row in optim.rows(model, model.backbone, values["data"]["total_batch_size"])}
    assert optim.layer_decay < 1
    for index in range(3):
        start = f"backbone.blocks.{index}"
        table, scale = rows[f"{start}.attn.position.table"], rows[f"{start}.gamma_1"]
        assert table.layer == scale.layer == index + 1
        assert table.lr_scale == scale.lr_scale == pytest.approx(optim.layer_decay ** (3 - index))
        assert (table.weight_decay, scale.weight_decay) == (optim.weight_decay, 0.0)
    assert not any("pos_embed" in name for name in rows)
