"""A ViT with four registers trains in a classifier and in a segmenter, which know nothing of them."""

from pathlib import Path

import pytest

import maekit
from maekit.runs.rows import text_rows


@pytest.mark.parametrize("task", ["imagenet_finetune", "imagenet_linprobe", "ade20k_upernet", "mae_pretrain"])
def test_it_trains_and_registers_learn(task: str, tmp_path: Path) -> None:
    given = {
        "model.backbone": "vit_smoke_patch8_reg4", "model.weights": "none", "trainer.max_steps": 3,
        "run.folder": tmp_path,
        "trainer.precision": "32-true", "data.num_workers": 0, "trainer.log_every_n_steps": 1,
    }  # fmt: skip
    session = maekit.build(task, "smoke", given)
    registers = session.model.backbone.get_parameter("reg_token")
    before = registers.detach().clone()
    run = Path(session.fit()["folder"])
    assert len(text_rows(run / "train.csv")) == 3
    changed = not (session.model.backbone.get_parameter("reg_token") == before).all()
    assert changed == registers.requires_grad == (task != "imagenet_linprobe")
