"""`maekit predict` on images in tiles."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from maekit.cli import main
from maekit.commands import predict
from maekit.commands.shared.prediction_source import PredictionSource
from maekit.data.images.decode import PIXEL_LIMIT
from maekit.detection.predictions import DetectionWriter
from maekit.detection.tiled.predictor import TiledDetector
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.tiled.predictor import TiledSegmenter
from maekit.system.size import HeightWidth
from tests.detection.tiled.helpers import SURE, Detector, scene
from tests.segmentation.helpers import SIDE, model
from tests.tiles.helpers import smooth

INPUT: dict[str, Any] = {"resize": [SIDE, SIDE], "min_side": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3}
CPU = torch.device("cpu")
Use = Callable[[PredictionSource], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    """Makes `maekit predict` use a source whatever `--model` is, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # the environment's limit changes it

    def give(source: PredictionSource) -> None:
        monkeypatch.setattr(predict, "find_model", Path)
        monkeypatch.setattr(predict, "open_source", lambda *_: source)

    return give


@pytest.fixture(scope="module")
def segmenter() -> Any:
    return model(task="ade20k_linear").eval()


def source_of(segmenter: Any) -> PredictionSource:
    shown = segmenter.shown()
    record: dict[str, str | int] = {"checkpoint": "m", "step": 0, "task": "t"}
    return PredictionSource(
        shown.predictor(INPUT),
        shown.prediction_writer,
        INPUT,
        CPU,
        record,
        "weights m",
        lambda options: shown.tiled_predictor(INPUT, options),
    )


def write(path: Path, height: int = 150, width: int = 200, **options: Any) -> np.ndarray:
    pixels = smooth(height, width)
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="zlib", metadata=None, **options)
    return pixels


def test_labels_of_a_large_image_are_those_of_the_whole_image(tmp_path: Path, use: Use, segmenter: Any) -> None:
    pixels = write(tmp_path / "image.tif")
    use(source_of(segmenter))
    assert main(["predict", "image.tif", "--model", "m", "--tile", "100", "--output", "out"]) == 0
    planes = SegEvalTransform(**INPUT).normalise.planes(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    expected = segmenter.labels(planes, HeightWidth(150, 200)).numpy()
    with tifffile.TiffFile(tmp_path / "out/image_labels.tif") as file:
        assert file.is_bigtiff
        assert file.pages.first.aspage().is_tiled
    labels = Image.open(tmp_path / "out/image_labels.tif")
    assert labels.mode == "P"
    assert labels.getpalette()[: 3 * 7] == [value for colour in segmenter.palette for value in colour]  # type: ignore[index]
    np.testing.assert_array_equal(np.asarray(labels), expected)
    with (tmp_path / "out/predictions.csv").open() as table:
        rows = {int(row["label"]): int(row["pixels"]) for row in csv.DictReader(table)}
    assert rows == {label: int((expected == label).sum()) for label in np.unique(expected).tolist()}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("image.png", "image_labels.tif", "predicted_by.json", "predictions.csv", "predictions.json")
    ]


def test_only_images_above_the_limit_are_tiled_without_a_flag(
    tmp_path: Path, use: Use, segmenter: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("maekit.commands.shared.tiled_images.LEAST_BYTES", 0)
    monkeypatch.setenv(PIXEL_LIMIT, "0.02")
    (tmp_path / "images").mkdir()
    write(tmp_path / "images/large.tif")
    Image.fromarray(smooth(70, 80)).save(tmp_path / "images/small.png")
    use(source_of(segmenter))
    assert main(["predict", "images", "--model", "m", "--output", "out"]) == 0
    found = sorted(file.name for file in (tmp_path / "out").glob("*_labels.*"))
    assert found == ["large_labels.tif", "small_labels.png"]
    assert "1 image with too many pixels" in capsys.readouterr().out


def test_a_damaged_tile_leaves_the_image_out(
    tmp_path: Path, use: Use, segmenter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "image.tif")
    with tifffile.TiffFile(tmp_path / "image.tif") as file:
        offset = file.pages.first.aspage().dataoffsets[7]
    with (tmp_path / "image.tif").open("r+b") as data:
        data.seek(offset)
        data.write(b"\xff" * 9)
    use(source_of(segmenter))
    assert main(["predict", "image.tif", "--model", "m", "--tile", "100", "--output", "out"]) == 2
    assert "image.tif: tile 7" in capsys.readouterr().err
    assert "tile 7" in (tmp_path / "out/skipped.txt").read_text()
    assert not list((tmp_path / "out").glob("image*"))


def test_a_stopped_prediction_leaves_nothing_that_looks_whole(
    tmp_path: Path, use: Use, segmenter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "image.tif")
    source = source_of(segmenter)
    calls = []

    def stop(windows: torch.Tensor) -> torch.Tensor:
        calls.append(windows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return segmenter(windows)  # type: ignore[no-any-return]

    def tiled(options: Any) -> Any:
        made = source.tiled(options)
        assert isinstance(made, TiledSegmenter)
        windows = replace(made.looks.windows, logits_of=stop)
        return replace(made, looks=replace(made.looks, windows=windows))

    use(replace(source, tiled=tiled))
    assert main(["predict", "image.tif", "--model", "m", "--tile", "100", "--output", "out"]) == 130
    assert not (tmp_path / "out").exists()


def test_a_disk_without_room_is_one_line(
    tmp_path: Path, use: Use, segmenter: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "image.tif")
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("maekit.segmentation.tiled.predictor.shutil.disk_usage", lambda folder: full)
    use(source_of(segmenter))
    assert main(["predict", "image.tif", "--model", "m", "--tile", "100", "--output", "out"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "No space" in line]
    assert "out" in line


@pytest.mark.parametrize(
    ("flags", "fact"),
    [(["--tile", "40"], "64"), (["--overlap", "64"], "64"), (["--tile", "100", "--scale", "0.5"], "128")],
)
def test_what_does_not_fit_the_window_is_refused(
    flags: list[str], fact: str, tmp_path: Path, use: Use, segmenter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "image.tif")
    use(source_of(segmenter))
    assert main(["predict", "image.tif", "--model", "m", *flags, "--output", "out"]) == 2
    assert fact in capsys.readouterr().err


def test_a_model_of_one_result_an_image_has_no_tiles(
    tmp_path: Path, use: Use, segmenter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "image.tif")
    use(replace(source_of(segmenter), tiled=lambda options: None))
    assert main(["predict", "image.tif", "--model", "m", "--tile", "100"]) == 2
    assert "one result an image" in capsys.readouterr().err


def test_objects_and_their_crops_are_those_of_the_whole_image(tmp_path: Path, use: Use) -> None:
    made = scene(3, HeightWidth(300, 340), 128, 48, (16, 44))
    tifffile.imwrite(tmp_path / "scene.tif", made.picture, tile=(64, 64), photometric="rgb", metadata=None)
    names = tuple(map(str, range(10)))
    use(
        PredictionSource(
            Detector(),
            lambda folder, options: DetectionWriter(folder, names, list(range(1, 11)), options),
            INPUT,
            CPU,
            {"checkpoint": "m", "step": 0, "task": "t"},
            "weights m",
            lambda options: TiledDetector(Detector(), options.tile or 0, options.overlap or 0),
        )
    )
    flags = ["--tile", "128", "--overlap", "48", "--crops", "--score", str(SURE), "--output", "out"]
    assert main(["predict", "scene.tif", "--model", "m", *flags]) == 0
    (image,) = json.loads((tmp_path / "out/predictions.json").read_text())["images"]
    assert len(image["objects"]) == len(made.labels)
    for one in image["objects"]:
        crop = np.asarray(Image.open(tmp_path / "out" / one["crop"]))
        x0, y0 = int(np.floor(one["x0"])), int(np.floor(one["y0"]))
        x1, y1 = int(np.ceil(one["x1"])), int(np.ceil(one["y1"]))
        np.testing.assert_array_equal(crop, made.picture[y0:y1, x0:x1])
