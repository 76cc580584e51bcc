"""`maekit lr-table`, against recipes worked out by hand."""

import json

import pytest

from maekit.cli import main


def parameters(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, float]]:
    assert main(["lr-table", "--task", "imagenet_finetune", "--json", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["parameters"]
    assert all(set(row) == {"name", "layer", "lr_scale", "lr", "weight_decay", "factor"} for row in rows)
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize(
    ("recipe", "blocks", "decay", "lr"), [("base", 12, 0.65, 2e-3), ("large", 24, 0.75, 4e-3), ("huge", 32, 0.75, 4e-3)]
)
def test_the_table_is_the_recipes(
    recipe: str, blocks: int, decay: float, lr: float, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = parameters(capsys, "--recipe", recipe)
    assert len(rows) == 12 * blocks + 4 + 4  # blocks; patches, tokens, positions; fc_norm and fc
    for name, layer in {
        "backbone.pos_embed": 0, "backbone.cls_token": 0, "backbone.patch_embed.proj.weight": 0,
        "backbone.blocks.0.attn.qkv.weight": 1, f"backbone.blocks.{blocks - 1}.mlp.fc2.bias": blocks,
        "head.fc_norm.weight": blocks + 1, "head.fc.weight": blocks + 1,
    }.items():  # fmt: skip
        assert rows[name]["layer"] == layer
        assert rows[name]["lr"] == pytest.approx(lr * decay ** (blocks + 1 - layer), rel=1e-12)
        assert rows[name]["lr_scale"] == pytest.approx(decay ** (blocks + 1 - layer), rel=1e-12)
    plain = {name for name, row in rows.items() if row["weight_decay"] == 0}
    assert plain == {name for name in rows if name.endswith((".bias", "pos_embed", "cls_token")) or "norm" in name}


def test_flags_change_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = parameters(capsys, "--recipe", "base", "--optim.layer_decay", "1.0", "--data.total_batch_size", "256")
    assert {row["lr"] for row in rows.values()} == {5e-4}


def test_the_text_has_a_line_a_parameter_or_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-table", "--task", "imagenet_finetune", "--recipe", "base"]) == 0
    text = capsys.readouterr().out
    assert "backbone.blocks.11.mlp.fc2.weight" in text
    assert main(["lr-table", "--task", "imagenet_finetune", "--recipe", "base", "--groups"]) == 0
    groups = capsys.readouterr().out.splitlines()
    assert len(groups) == 1 + 2 * 14
    assert sum(int(line.split()[-1].replace(",", "")) for line in groups[1:]) == 86_567_656


def test_what_is_frozen_has_no_row_and_the_last_line_counts_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--task", "imagenet_finetune", "--recipe", "base", "--model.lora_rank", "8"]
    assert main(["lr-table", *words]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    assert last == (
        "trained: 1.95 of 87.75 M parameters (2.2 %): adapters 1.18 M, head 0.77 M; frozen: backbone 85.80 M"
    )
    # 12 blocks of ViT-Base: r (in + out) of qkv, proj, fc1 and fc2
    numbers = 12 * 8 * ((768 + 2304) + (768 + 768) + 2 * (768 + 3072))
    adapters = [row.split() for row in rows if ".lora_" in row]
    assert len(adapters) == 12 * 8 and not any("qkv.weight" in row for row in rows)
    scale = {row[0]: float(row[2]) for row in adapters}
    assert scale["backbone.blocks.0.attn.qkv.lora_a"] == pytest.approx(0.65**12, rel=1e-3)
    assert {row[-1] for row in adapters} == {"0.05"}  # decayed, as in the paper's experiments
    assert main(["lr-table", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained"]["adapters"] == numbers
