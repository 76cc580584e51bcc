"""The notebooks run from their first cell to their last, in an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.fences import TOP

NOTEBOOKS = sorted((TOP / "docs").rglob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook(notebook: Path, tmp_path: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 3
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=tmp_path, env={**os.environ, "COLUMNS": "120"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_notebooks_hold_no_output() -> None:
    """Output is made by whoever runs a notebook: what is kept would be of another version."""
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None, notebook
