"""The scripts that fill the tables of step times run from end to end; what they measure is no test's matter."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers_run import environment

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(folder: Path, script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *words],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_script_for_a_gpu_can_be_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    printed = run(tmp_path, "gpu_table.py", "--rehearse", "--tasks", "imagenet_partial", "ade20k_upernet")
    rows: list[dict[str, Any]] = json.loads((tmp_path / "gpu_table.json").read_text())["rows"]
    assert [(row["task"], row["recipe"]) for row in rows] == [
        ("imagenet_partial", "smoke"),
        ("ade20k_upernet", "smoke"),
    ]
    classification, segmentation = (row["sides"] for row in rows)
    assert {"eager", "compiled", "timm"} == set(classification)
    assert {"eager", "compiled", "eager, channels last", "compiled, channels last"} <= set(segmentation)
    for row in rows:
        assert row["operations"] > 0
        assert not [side for side in row["sides"].values() if "error" in side]
    text = (tmp_path / "gpu_table.md").read_text()
    assert text.strip() == printed.strip()
    assert "a rehearsal" in text


@pytest.mark.slow
def test_one_command_times_tasks_beside_their_peers(tmp_path: Path) -> None:
    words = ["--size=smoke", "--rounds=1", "--warmup=0", "--precision=fp32", f"--json={tmp_path / 'found.json'}"]
    printed = run(tmp_path, "step_time.py", *words, "--tasks", "mae_pretrain")
    rows: list[dict[str, Any]] = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [set(row["sides"]) for row in rows] == [{"maekit", "transformers"}]
    assert "| mae_pretrain |" in printed
