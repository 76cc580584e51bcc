"""Masks coded by colours give the tensors of masks with class numbers; wrong tables and colours are one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.errors import UserError
from maekit.segmentation.data.colours import read_table
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_label

TABLE = "name,r,g,b\nsky,0,0,255\nroad,#804080\ncar,255,0,0\n"


def table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "colours.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_colours_equal_class_numbers(tmp_path: Path) -> None:
    colours = read_table(table(tmp_path))
    assert colours.names == ("sky", "road", "car")
    values = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "index.png")
    Image.fromarray(np.array(colours.colours, np.uint8)[values]).save(tmp_path / "colour.png")
    index = read_label(tmp_path / "index.png", Coding(3, False))
    np.testing.assert_array_equal(read_label(tmp_path / "colour.png", Coding(3, False), colours), index)
    turned = colours.in_order(("car", "sky", "road"))
    found = read_label(tmp_path / "colour.png", Coding(3, False), turned)
    np.testing.assert_array_equal(found, np.array([1, 2, 0])[values])


def test_an_unknown_colour_names_file_pixels_and_nearest(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
    pixels[0, :3] = 250, 0, 0
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour\.png.*\(250, 0, 0\) of 3 pixels.*'car'"):
        read_label(tmp_path / "colour.png", Coding(3, False), read_table(table(tmp_path)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sky,0,0,255\nroad,0,0,255\n", "both have the colour"),
        ("sky,0,0,255\nSky,0,0,1\n", "stands twice"),
        ("sky,0,0,256\nroad,0,0,1\n", ":1: got"),
        ("sky,0,0,255\n", "1 classes"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_table(table(tmp_path, text))


def test_colours_and_names_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no colour for class 'tree'"):
        read_table(table(tmp_path)).in_order(("sky", "road", "tree"))
    with pytest.raises(UserError, match="'car'"):
        read_table(table(tmp_path)).in_order(("sky", "road"))
