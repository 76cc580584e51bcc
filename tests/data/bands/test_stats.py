"""Statistics of each band are those of numpy in float64, and their file is checked."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from maekit import cli
from maekit.data.images.bands.stats import measure, unit_of
from maekit.data.images.bands.stats_file import read_stats, write_stats
from maekit.errors import UserError

NAMES = ("a", "b", "c")
DRAW = np.random.default_rng(0)


def written(folder: Path, images: list[np.ndarray]) -> list[str]:
    paths = [folder / f"{number}.npy" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    return [str(path) for path in paths]


@pytest.mark.parametrize(
    ("dtype", "offset", "spread"),
    [("uint8", 100, 40), ("uint16", 40_000, 9_000), ("int16", -20_000, 3_000), ("float32", 1e5, 0.5)],
)
def test_they_are_numpys(dtype: str, offset: float, spread: float, tmp_path: Path) -> None:
    shapes = [(30, 40, 3), (5, 7, 3), (64, 64, 3)]
    images = [(offset + spread * DRAW.random(shape)).astype(dtype) for shape in shapes]
    stats, _ = measure(written(tmp_path, images), NAMES, dtype)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
    assert np.allclose(stats.mean, pixels.mean(0), rtol=1e-12)
    assert np.allclose(stats.std, pixels.std(0), rtol=1e-6)
    assert stats.min == tuple(pixels.min(0))
    assert stats.max == tuple(pixels.max(0))
    assert stats.pixels == (len(pixels),) * 3
    write_stats(tmp_path / "stats.json", stats)
    assert read_stats(tmp_path / "stats.json") == stats


def test_they_do_not_depend_on_how_the_files_are_divided(tmp_path: Path) -> None:
    image = (1e4 + DRAW.integers(0, 50_000, (64, 8, 3))).astype(np.uint16)
    (tmp_path / "parts").mkdir()
    whole, _ = measure(written(tmp_path, [image]), NAMES, "uint16")
    parts, _ = measure(written(tmp_path / "parts", np.split(image, 8)), NAMES, "uint16")
    assert (whole.mean, whole.std) == (parts.mean, parts.std)


def test_pixels_without_a_value_are_left_out_and_counted(tmp_path: Path) -> None:
    image = DRAW.random((8, 9, 3)).astype(np.float32)
    image[:2, 0, 1] = np.nan
    stats, _ = measure(written(tmp_path, [image]), NAMES, "float32")
    assert stats.missing == (0, 2, 0)
    assert np.isclose(stats.mean[1], np.nanmean(image[..., 1].astype(np.float64)))
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.where(np.isnan(image), -9999, image).astype(np.float32),
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(42113, 2, 0, "-9999", True)],
    )
    marked, files = measure([str(tmp_path / "a.tif")], NAMES, "float32")
    assert (marked.missing, marked.mean, marked.std) == (stats.missing, stats.mean, stats.std)
    assert files == [str(tmp_path / "a.tif")]
    image[0, 0, 0] = np.inf
    with pytest.raises(UserError, match="infinity"):
        measure(written(tmp_path, [image]), NAMES, "float32")


@pytest.mark.parametrize(
    ("dtype", "high", "unit"),
    [("uint8", 9, 255), ("uint16", 4000, 4095), ("uint16", 65535, 65535), ("float32", 0.7, 1), ("float32", 1e6, 1e6)],
)
def test_the_number_that_counts_as_1(dtype: str, high: float, unit: float) -> None:
    assert unit_of(dtype, high) == unit


@pytest.mark.parametrize(
    ("key", "value", "fact"),
    [
        ("mean", [1.0, 2.0], "2 numbers in mean"),
        ("std", [1, 1, -1], "std below 0"),
        ("unit", "x", "unit"),
        ("new", 1, "new"),
    ],
)
def test_a_file_of_another_form_is_refused(key: str, value: object, fact: str, tmp_path: Path) -> None:
    stats, _ = measure(written(tmp_path, [DRAW.integers(0, 9, (8, 9, 3)).astype(np.uint8)]), NAMES, "uint8")
    write_stats(tmp_path / "stats.json", stats)
    content = json.loads((tmp_path / "stats.json").read_text()) | {key: value}
    (tmp_path / "stats.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=fact):
        read_stats(tmp_path / "stats.json")


def test_the_command_measures_the_training_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, images in (("train", 3), ("val", 1)):
        for name in ("x", "y"):
            (tmp_path / split / name).mkdir(parents=True)
            written(tmp_path / split / name, [DRAW.integers(0, 4000, (8, 9, 3)).astype(np.uint16)] * images)
    words = ["data", "stats", "--root", str(tmp_path)]
    assert cli.main([*words, "--data.file_bands", "a,b,c"]) == 0
    first = read_stats(tmp_path / "stats.json")
    assert (first.bands, first.images, first.dtype) == (NAMES, 6, "uint16")
    assert "6 images" in capsys.readouterr().out
    task = ["--task", "imagenet_finetune", "--out", str(tmp_path / "other.json"), "--data.bands", "a,b,c"]
    assert cli.main([*words, *task]) == 0
    assert read_stats(tmp_path / "other.json") == first
    assert "often marks" not in capsys.readouterr().out
    (tmp_path / "marked").mkdir()
    written(tmp_path / "marked", [np.where(np.eye(8) > 0, -9999, 5 + np.eye(8)).astype(np.int16)])
    assert cli.main(["data", "stats", "--root", str(tmp_path / "marked"), "--data.file_bands", "a"]) == 0
    assert "the smallest number of a is -9,999, which often marks pixels without a value" in capsys.readouterr().out
    assert cli.main([*words, "--data.fold", "1/2"]) == 2
    assert "--task" in capsys.readouterr().err
