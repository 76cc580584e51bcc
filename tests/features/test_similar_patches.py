"""Patches like one patch, against NumPy on the stored features."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.features.patches.folder import read_patches
from tests.features.helpers import pictures, refused, run, weights

pytestmark = pytest.mark.numeric


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    words = ["--weights", weights(tmp_path), "--patches", "--output", tmp_path / "features"]
    run(capsys, "embed", pictures(tmp_path / "in", 5), *words)
    return tmp_path


def test_the_nearest_patches_are_those_of_numpy(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = read_patches(place / "features")
    image = place / "in/02.png"  # 64 wide, 44 high: 6 x 4 patches
    words = ["similar", image, "--features", place / "features", "--patch", "33,40", "--json", "--top", 3]
    found = json.loads(run(capsys, *words))
    assert tuple(folder.grid(2)) == (4, 6)
    own = folder.patches(2).numpy()[3 * 6 + 3].astype(np.float64)
    best = []
    for index, name in enumerate(folder.files):
        rows = folder.patches(index).numpy().astype(np.float64)
        cosine = rows @ own / np.linalg.norm(rows, axis=1) / np.linalg.norm(own)
        row, column = divmod(int(cosine.argmax()), folder.grid(index).width)
        height, width = folder.size(index)
        x = int((column + 0.5) * width / folder.grid(index).width)
        y = int((row + 0.5) * height / folder.grid(index).height)
        best.append((-cosine.max(), str(place / "in" / name), x, y))
    expected = sorted(one for one in best if one[1] != str(image))[:3]
    assert [(one["file"], one["x"], one["y"]) for one in found["similar"]] == [one[1:] for one in expected]
    np.testing.assert_allclose(
        [one["similarity"] for one in found["similar"]], [-one[0] for one in expected], atol=1e-5
    )


def test_a_sheet_shows_where_they_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["similar", place / "in/00.png", "--features", place / "features", "--patch", "3,3"]
    printed = run(capsys, *words, "--top", 2, "--output", place / "near.png")
    assert printed.splitlines()[-1] == f"-> {place / 'near.png'}"
    sheet = np.asarray(Image.open(place / "near.png")).astype(int)
    top = sheet[: sheet.shape[0] // 2, : sheet.shape[1] // 3].reshape(-1, 3)
    light = (top[:, 0] > 200) & (top[:, 1] > 180) & (top[:, 2] < 200)  # the query itself
    assert 0 < light.mean() < 0.2


def test_a_patch_that_cannot_be_searched_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["similar", place / "in/00.png", "--features", place / "features"]
    line = refused(capsys, *words, "--patch", "50,3")
    assert "--patch 50,3: outside" in line and "X of 0 to 49 and Y of 0 to 43" in line
    assert "embed with --pooling class" in refused(capsys, *words)
    run(capsys, "embed", place / "in", "--weights", weights(place), "--output", place / "whole")
    assert "embed with --patches" in refused(capsys, *words[:3], place / "whole", "--patch", "3,3")
    inside = place / "in/near.png"
    assert "lies among the images" in refused(capsys, *words, "--patch", "3,3", "--output", inside)
