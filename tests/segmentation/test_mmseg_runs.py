"""Runs with mmsegmentation's heads: resumed, compiled, planned; and what their files are good for."""

from pathlib import Path

import pytest
import torch

from maekit.cli import main
from maekit.data.digit_scenes import ADE_FORM, scenes_root
from maekit.planning.memory import count
from maekit.planning.target import Target
from maekit.runs.rows import text_rows
from tests.segmentation.helpers_mmseg import FIVE, batch, model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("head", ["UPerHead", "DPTHead"])
def test_a_run_with_their_head_resumes_and_its_files_serve(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Train, pause, resume bit for bit, validate, predict; the checkpoint has plain values only and names the head."""
    monkeypatch.chdir(tmp_path)
    flags = [
        "fit", "--task=ade20k_upernet", "--recipe=smoke", f"--model.head=mmseg:{head}",
        f"--model.head_args={FIVE[head]}", "--trainer.max_steps=16", "--trainer.val_check_interval=8",
        "--trainer.limit_val_batches=4",
        "--data.total_batch_size=4", "--data.device_batch_size=4", "--optim.lr=3e-3", "--optim.warmup_steps=2",
        "--model.head_channels=16", "--model.aux_channels=8", "--trainer.log_every_n_steps=1",
    ]  # fmt: skip
    assert main([*flags, "--run.name=whole"]) == 0
    assert main([*flags, "--run.name=paused", "--run.stop_at_step=8"]) == 0
    runs = tmp_path / "runs/ade20k_upernet/smoke"
    assert main([*flags, "--run.name=paused", f"--ckpt_path={runs / 'paused/last.ckpt'}"]) == 0
    whole, paused = (torch.load(runs / name / "last.ckpt", weights_only=True) for name in ("whole", "paused"))
    assert whole["state_dict"].keys() == paused["state_dict"].keys()
    assert all(torch.equal(value, paused["state_dict"][name]) for name, value in whole["state_dict"].items())
    losses = [float(row["loss"]) for row in text_rows(runs / "whole/train.csv")]
    assert sum(losses[-4:]) < sum(losses[:4])
    best = runs / "whole/best.ckpt"
    assert main(["validate", "--ckpt_path", str(best), "--json"]) == 0
    image = min((scenes_root(ADE_FORM) / "images/validation").iterdir())
    assert main(["predict", "--ckpt_path", str(best), "--images", str(image)]) == 0
    assert main(["weights", "inspect", str(best)]) == 0
    out, err = capfd.readouterr()
    assert f"head         mmseg:{head}" in out
    assert "Warning" not in err
    assert "mmengine" not in out + err


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of a tracer that looks at it
@pytest.mark.parametrize("head", ["UPerHead", "DPTHead"])
def test_a_steps_losses_are_one_graph(head: str) -> None:
    torch.compiler.reset()
    module = model(head, FIVE[head]).train()
    expected = module.training_losses(batch())["loss"].item()
    losses = module.compile_losses(backend="eager", fullgraph=True)
    assert losses(batch())["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("head", ["PSPHead"])
def test_a_plan_counts_a_step_without_memory(head: str) -> None:
    with torch.device("meta"):
        module = model(head, FIVE[head])
    (counts,) = count(module, Target("cpu", "32-true"), [False])
    assert counts.saved.at(4) > counts.saved.at(2) > 0
    assert counts.flops.at(2) > 0
