"""A short pre-training learns: what it draws and what its features are worth both rise."""

import csv
from pathlib import Path

import pytest

from maekit.cli import main

pytestmark = pytest.mark.slow


def test_reconstructions_and_frozen_features_get_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--trainer.max_epochs=9", "--trainer.check_val_every_n_epoch=3", "--optim.warmup_epochs=1"]
    assert main(["fit", "--task", "mae_pretrain", "--recipe", "smoke", *short]) == 0
    run = tmp_path / "runs/mae_pretrain/smoke/0"
    with (run / "val.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 3
    assert rows[0]["psnr"] < rows[1]["psnr"] < rows[2]["psnr"]
    assert rows[0]["loss"] > rows[1]["loss"] > rows[2]["loss"]
    for name, rise in (("knn_top1", 3), ("probe_top1", 2)):  # in so short a run neither rises at each look
        assert max(row[name] for row in rows[1:]) > rows[0][name] + rise, [row[name] for row in rows]
    assert len(list((run / "pictures").iterdir())) == 3
