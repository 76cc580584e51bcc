"""A training step of the segmentation recipes at 512 px fits a CPU machine of 24 GB, and moves every parameter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/large_steps.py"
BY_HAND = pytest.mark.skipif(
    "MAEKIT_LARGE_STEPS" not in os.environ, reason="takes minutes and 17 GB; set MAEKIT_LARGE_STEPS to run it"
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("recipe", ["base", pytest.param("large", marks=BY_HAND), pytest.param("huge", marks=BY_HAND)])
def test_a_step_fits_in_24_gb(recipe: str) -> None:
    """Batch 2, fp32, blocks recomputed; the script itself checks loss, gradients and that every parameter moves."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), recipe], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["peak_gb"] < 24
