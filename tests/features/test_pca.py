"""Patch features in colour, against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from maekit.features.attention_maps import SPREAD
from maekit.features.patches.colours import folder_colours
from maekit.features.patches.folder import PatchFolder, read_patches
from tests.features.helpers import pictures, refused, run, weights
from tests.numeric import assert_fp32

pytestmark = pytest.mark.numeric


def a_folder(flip: int = 1) -> PatchFolder:
    """Three images of 6 x 7 patches, the inner 4 x 5 of which lie far from the others in one direction."""
    draws = np.random.default_rng(0)
    inside = np.zeros((6, 7))
    inside[1:-1, 1:-1] = 1
    way = flip * np.array([4.0, -3.0, 2.0, 0.0, 1.0])
    parts = [inside.reshape(-1, 1) * way + draws.normal(size=(42, 5)) * (1, 0.8, 0.6, 0.4, 0.2) for _ in range(3)]
    grids = np.full((3, 2), (6, 7))
    rows = torch.from_numpy(np.concatenate(parts))
    return PatchFolder(Path("f"), {}, rows, ["a", "b", "c"], grids, 8 * grids, np.arange(4) * 42)  # type: ignore[typeddict-item]


def expected(rows: np.ndarray, of: np.ndarray) -> np.ndarray:
    model = PCA(3, svd_solver="full").fit(of)
    signs = np.sign(model.components_[range(3), np.abs(model.components_).argmax(axis=1)])
    steps = model.transform(rows) * signs / (SPREAD * model.transform(of).std(axis=0))
    colours: np.ndarray = ((steps + 1) / 2).clip(0, 1)
    return colours


def test_colours_are_scikit_learns_components_of_all_images() -> None:
    folder = a_folder()
    rows = folder.features.numpy()
    found = torch.cat([folder_colours(folder)(folder.patches(image)) for image in range(3)])
    assert_fp32(found, torch.from_numpy(expected(rows, rows)))


@pytest.mark.parametrize("flip", [1, -1])
def test_the_foreground_is_what_lies_inside_whatever_the_sign(flip: int) -> None:
    folder = a_folder(flip)
    rows = folder.features.numpy()
    colours = folder_colours(folder, "auto")
    assert colours.foreground is not None
    chosen = colours.foreground(folder.features).numpy()
    first = PCA(1).fit_transform(rows)[:, 0] > 0
    assert np.array_equal(chosen, first) or np.array_equal(chosen, ~first)
    inside = np.zeros((6, 7), dtype=bool)
    inside[1:-1, 1:-1] = True
    assert (chosen == np.tile(inside.flatten(), 3)).mean() > 0.95
    found = colours(folder.features).numpy()
    assert (found[~chosen] == 0).all()
    assert_fp32(torch.from_numpy(found[chosen]), torch.from_numpy(expected(rows[chosen], rows[chosen])))
    other = folder_colours(folder, "negative" if colours.foreground.positive else "positive")
    assert other.foreground is not None
    assert torch.equal(other.foreground(folder.features), ~colours.foreground(folder.features))


def test_a_picture_an_image_and_an_overview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, features = pictures(tmp_path / "in", 4), tmp_path / "features"
    run(capsys, "embed", folder, "--weights", weights(tmp_path), "--patches", "--output", features)
    words = ["pca", features, "--output", tmp_path / "out"]
    assert "4 pictures -> " in run(capsys, *words, "--overview", 2)
    names = sorted(str(path.relative_to(tmp_path / "out/pictures")) for path in (tmp_path / "out").rglob("0*.png"))
    assert names == ["00.png", "01.png", "deep/er/02.png", "deep/er/03.png"]
    picture = np.asarray(Image.open(tmp_path / "out/pictures/00.png")).astype(int)
    found = read_patches(features)
    colours = folder_colours(found)(found.patches(0)).reshape(*found.grid(0), 3)
    height = round(384 * 44 / 50)  # images are 50 wide, 44 high
    drawn = picture[-12 - height : -12, 12 + 384 + 12 :][:height, :384]
    middle = drawn[height // 8 :: height // 4][:4, 384 // 10 :: 384 // 5][:, :5]
    assert np.abs(middle / 255 - colours.numpy()).max() < 0.01
    again = run(capsys, *words[:3], tmp_path / "more", "--foreground")
    assert "foreground: patches " in again
    first = [path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.png"))]
    run(capsys, *words, "--overview", 2)
    assert first == [path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.png"))]
    (folder / "00.png").write_bytes(b"gone")
    run(capsys, *words)


def test_what_has_no_colours_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, features = pictures(tmp_path / "in", 3), tmp_path / "features"
    run(capsys, "embed", folder, "--weights", weights(tmp_path), "--output", features)
    words = ["pca", features, "--output", tmp_path / "out"]
    assert "embed with --patches" in refused(capsys, *words)
    run(capsys, "embed", folder, "--weights", weights(tmp_path), "--output", tmp_path / "patches", "--patches")
    assert "lies in the images' folder" in refused(capsys, "pca", tmp_path / "patches", "--output", folder / "out")
    rows = np.load(tmp_path / "patches/features.npy")
    np.save(tmp_path / "patches/features.npy", np.zeros_like(rows))
    words = ["pca", tmp_path / "patches", "--output", tmp_path / "out", "--foreground"]
    assert "no patch is foreground, as all are alike" in refused(capsys, *words)
    rows[3, 4] = np.nan
    np.save(tmp_path / "patches/features.npy", rows)
    assert "NaN or infinite features" in refused(capsys, *words)
