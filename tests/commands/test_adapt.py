"""`maekit adapt`: a pre-training that goes on, and whether that was worth it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from maekit.cli import main
from maekit.pretraining.going_on import start_of
from maekit.runs.read import read_run
from maekit.weights.read.safe_load import load_file as load_checkpoint
from tests.conftest import few_digits

SHORT = [
    "--data.total_batch_size=40", "--data.num_workers=0", "--data.horizontal_flip=0", "--model.decoder_width=16",
    "--model.decoder_depth=1", "--model.decoder_heads=1", "--model.target=pixels", "--optim.warmup_epochs=1",
    "--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.max_epochs=2",
    "--trainer.check_val_every_n_epoch=1", "--run.num_threads=1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nothere", "--weights", "mae_vit_smoke"], "nothere: no such folder, expected one of images"),
        (["photos", "--weights", "mae_vit_smoke"], "photos: without labels nothing says whether features get better"),
        (["photos", "--weights", "mae_vit_smoke", "--decoder_epochs", "0"], "--decoder_epochs: got 0, expected 1 or"),
        (["photos", "--weights", "mae_vit_smoke", "--min_gain", "-1"], "--min_gain: got -1, expected 0 or more"),
        (["photos", "--weights", "nowhere.pth", "--labels", "digits"], "nowhere.pth"),
        (["photos", "--weights", "mae_vit_smoke", "--labels", "digits", "--model.moniter", "loss"], "model.monitor"),
        (["photos", "--weights", "mae_vit_smoke", "--labels", "nowhere"], "nowhere: no such folder"),
        (
            ["photos", "--weights", "mae_vit_smoke", "--labels", "digits", "--trainer.devices", "2"],
            "got 2 devices, expected 1: maekit adapt runs in one process",
        ),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(np.full((40, 40, 3), 50 * number, np.uint8)).save(tmp_path / f"photos/{number}.png")
    assert main(["adapt", *words]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def adapt(words: list[str]) -> int:
    Path("own.yaml").write_text("run: {folder: mine}\n")
    return main(["adapt", str(few_digits()), "--config", "own.yaml", *words, *SHORT])


@pytest.mark.slow
def test_a_decoder_that_paused_is_gone_on_with_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = load_file(start_of("mae_vit_smoke").path)
    save_file({name: t for name, t in whole.items() if not name.startswith(("decoder", "mask_token"))}, "e.safetensors")
    words = ["--weights", "e.safetensors", "--decoder_epochs=2"]
    assert adapt([*words, "--run.stop_at_step=1"]) == 0
    runs = tmp_path / "mine/mae_pretrain/adapt"
    assert [folder.name for folder in runs.iterdir()] == ["0-decoder"]
    assert adapt([*words, "--ckpt_path", "mine/mae_pretrain/adapt/0-decoder"]) == 0
    assert {name: read_run(runs / name).metrics["step"] for name in ("0-decoder", "0")} == {"0-decoder": 4, "0": 4}
    assert "worth it: " in capsys.readouterr().out


@pytest.mark.slow
def test_an_encoder_gets_a_decoder_first_and_old_weights_stay_where_nothing_is_gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = load_file(start_of("mae_vit_smoke").path)
    encoder = {name: t for name, t in whole.items() if not name.startswith(("decoder", "mask_token", "head"))}
    save_file(encoder, "encoder.safetensors")
    words = ["--weights", "encoder.safetensors", "--decoder_epochs=1"]
    assert adapt([*words, "--run.stop_at_step=3"]) == 0
    said = capsys.readouterr().out
    assert "a fresh one is trained first, for 1 epoch" in said
    assert "worth it" not in said, "a paused run is not judged"
    runs = tmp_path / "mine/mae_pretrain/adapt"
    warmed = load_checkpoint(runs / "0-decoder/last.ckpt")["state_dict"]  # type: ignore[index]
    for name, tensor in encoder.items():
        assert torch.equal(warmed[f"model.backbone.{name}"], tensor), name
    assert adapt([*words, "--ckpt_path", "mine/mae_pretrain/adapt/0"]) == 0
    said = capsys.readouterr().out
    assert "a fresh one" not in said, "the decoder is trained once"
    assert "worth it: no. k-NN top-1 " in said
    assert said.splitlines()[-1] == "use     encoder.safetensors, as before"
    assert read_run(runs / "0").metrics["step"] == 4
    found = json.loads((runs / "0/adapted.json").read_text())
    assert (found["images"], found["is_worth_it"], found["weights"]) == (80, False, "encoder.safetensors")
    assert found["after"] - found["before"] == found["gained"] - found["lost"]
