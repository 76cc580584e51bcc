"""Labels of large images equal those of the whole image."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maekit.data.images.decode import Reading
from maekit.data.images.transforms import Normalise
from maekit.segmentation.data.transforms.resize import resize_image
from maekit.segmentation.tiled.bands import Windows
from maekit.segmentation.tiled.labels import Looks, label_tiled
from maekit.segmentation.windows import predict_labels
from maekit.system.size import HeightWidth
from maekit.tiles.open import open_tiled
from maekit.tiles.region import Region
from maekit.tiles.scaled import ScaledImage

CLASSES = 5
CPU = torch.device("cpu")
NORMALISE = Normalise([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])


class Network(nn.Module):
    """Logits that depend on the whole window and on the place in it, so that a wrong window shows."""

    def __init__(self, window: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.mix = torch.randn(CLASSES, 3, 5, 5, generator=generator)
        self.place = torch.randn(CLASSES, window, window, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        seen = nn.functional.conv2d(images, self.mix, padding=2)
        return seen * (1 + images.mean((1, 2, 3), keepdim=True)) + self.place


def image(tmp_path: Path, height: int, width: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = tmp_path / "image.tif"
    Image.fromarray(pixels).save(path)
    return path


def tiled(path: Path, scale: float = 1.0, batch: int = 4, window: int = 32, stride: int = 21, **options: Any) -> Any:
    windows = Windows(Network(window), CLASSES, HeightWidth(window, window), HeightWidth(stride, stride), batch)
    with open_tiled(path, Reading()) as opened, TemporaryFile() as file:
        found = label_tiled(Looks(windows, NORMALISE.planes, **options), opened, scale, file, CPU)
        labels = found.rows(0, found.size.height)
    assert found.counts.tolist() == np.bincount(labels.ravel(), minlength=CLASSES).tolist()
    return labels


def untiled(path: Path, scale: float = 1.0, batch: int = 4, window: int = 32, stride: int = 21, **options: Any) -> Any:
    pixels = np.asarray(Reading()(path))
    size = HeightWidth(*pixels.shape[:2])
    seen = pixels if scale == 1 else resize_image(pixels, HeightWidth(*(int(side * scale + 0.5) for side in size)))
    return predict_labels(
        Network(window),
        NORMALISE.planes(torch.from_numpy(seen.transpose(2, 0, 1).copy())),
        size=size,
        num_classes=CLASSES,
        window=HeightWidth(window, window),
        stride=HeightWidth(stride, stride),
        batch=batch,
        **options,
    ).numpy()


@pytest.mark.parametrize(("device", "classes", "batch"), [("cpu", 150, 1), ("cpu", 30, 2), ("cuda", 150, 4)])
def test_windows_with_many_logits_go_one_by_one_on_a_cpu(device: str, classes: int, batch: int) -> None:
    windows = Windows(lambda images: images, classes, HeightWidth(512, 512), HeightWidth(448, 448), 4)
    assert Looks(windows, lambda pixels: pixels).fitting(torch.device(device)).windows.batch == batch


@pytest.mark.parametrize(("height", "width"), [(100, 131), (32, 32), (33, 32), (20, 90), (90, 20), (5, 7)])
@pytest.mark.parametrize("batch", [1, 4, 7])
def test_labels_equal_those_of_the_whole_image_at_its_own_scale(
    height: int, width: int, batch: int, tmp_path: Path
) -> None:
    path = image(tmp_path, height, width)
    np.testing.assert_array_equal(tiled(path, batch=batch), untiled(path, batch=batch))


@pytest.mark.parametrize("columns", [1, 17, 32, 70])
def test_they_do_not_depend_on_the_columns_at_once(columns: int, tmp_path: Path) -> None:
    path = image(tmp_path, 40, 71)
    np.testing.assert_array_equal(tiled(path, batch=1, columns=columns), untiled(path, batch=1))


@pytest.mark.parametrize(("height", "width"), [(100, 131), (20, 90), (90, 20)])
@pytest.mark.parametrize("columns", [None, 40])
def test_views_are_averaged_as_of_the_whole_image(height: int, width: int, columns: int | None, tmp_path: Path) -> None:
    path = image(tmp_path, height, width)
    options: dict[str, Any] = {"scales": (0.75, 1.0, 1.5), "flip": True}
    found, expected = tiled(path, columns=columns, **options), untiled(path, **options)
    assert (found == expected).mean() > 0.999  # interpolations differ in the last bit


@pytest.mark.parametrize("scale", [0.25, 0.4, 0.5, 2.0])
@pytest.mark.parametrize("columns", [None, 50])
def test_at_another_scale_labels_are_those_of_the_resized_image(
    scale: float, columns: int | None, tmp_path: Path
) -> None:
    path = image(tmp_path, 150, 190)
    found, expected = tiled(path, scale, columns=columns), untiled(path, scale)
    assert (found == expected).mean() > 0.98  # pixels differ by one level here and there, see the next test


@pytest.mark.parametrize("scale", [0.25, 0.37, 0.5, 1.7])
def test_resized_pixels_are_opencv_s_up_to_one_level(scale: float, tmp_path: Path) -> None:
    path = image(tmp_path, 150, 190)
    size = HeightWidth(int(150 * scale + 0.5), int(190 * scale + 0.5))
    expected = resize_image(np.asarray(Reading()(path)), size).astype(int)
    with open_tiled(path, Reading()) as opened:
        seen = ScaledImage(opened, size)
        for place in (Region(0, 0, *size), Region(3, 5, 20, 9), Region(size.height - 2, 0, *size)):
            found = seen.read(place).numpy().astype(int)
            assert abs(found - expected[place.rows, place.columns]).max() <= 1


def test_a_crop_away_from_its_edges_has_the_labels_of_the_large_image(tmp_path: Path) -> None:
    """Where all windows that cover a pixel are the same, its label is, too: the crop begins at a window's start."""
    path, window, stride = image(tmp_path, 300, 260), 32, 16
    found = tiled(path, batch=1, stride=stride)
    top, left, side = 3 * stride, 2 * stride, 32 + 6 * stride
    crop = tmp_path / "crop.png"
    Image.open(path).crop((left, top, left + side, top + side)).save(crop)
    expected = untiled(crop, batch=1, stride=stride)
    inner = slice(window - stride, side - (window - stride))
    whole = found[top : top + side, left : left + side]
    np.testing.assert_array_equal(whole[inner, inner], expected[inner, inner])
    assert (whole != expected).any()  # at its edges fewer windows cover it
