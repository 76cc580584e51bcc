"""Masks coded by colours give the tensors of masks with class numbers; wrong tables and colours are one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.data.folders.listing import Names
from maekit.errors import UserError
from maekit.segmentation.data.colours import read_table
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_label
from maekit.segmentation.data.layout.layout import Pairs
from tests.segmentation.data.helpers import build

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


def test_names_of_a_yaml_table_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("no: [0, 0, 255]\n007: '#804080'\n", encoding="utf-8")
    assert read_table(tmp_path / "a.yaml").names == ("no", "007")


def test_colours_and_names_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no colour for class 'tree'"):
        read_table(table(tmp_path)).in_order(("sky", "road", "tree"))
    with pytest.raises(UserError, match="'car'"):
        read_table(table(tmp_path)).in_order(("sky", "road"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:0,0,255::\nroad:128,64,128::\ncar:255,0,0::\n"),
        ("label_colors.txt", "0 0 255\tsky\n128 64 128\troad\n255 0 0\tcar\n"),
        ("a.json", '{"sky": [0, 0, 255], "road": "#804080", "car": [255, 0, 0]}'),
        ("a.yaml", "sky: [0, 0, 255]\nroad: '#804080'\ncar: [255, 0, 0]\n"),
        ("a.tsv", "name\tr\tg\tb\nsky\t0\t0\t255\nroad\t128\t64\t128\ncar\t255\t0\t0\n"),
    ],
)
def test_forms_of_tables(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found, usual = read_table(tmp_path / name), read_table(table(tmp_path))
    assert (found.names, found.colours) == (usual.names, usual.colours)


def test_ignored_colours_and_smoothed_edges(tmp_path: Path) -> None:
    colours = read_table(table(tmp_path, TABLE + "void,0,0,0,ignored\n"))
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 5:], pixels[:, 4] = (0, 0, 255), (255, 0, 0), (127, 0, 127)
    expected = np.array([[0] * 4 + [255] + [2] * 3] * 6)
    with pytest.raises(UserError, match=r"along edges.*colour_edges ignore"):
        colours.classes(pixels, "mask.png")
    np.testing.assert_array_equal(replace(colours, ignore_edges=True).classes(pixels, "mask.png"), expected)
    pixels[:, 4] = 0
    np.testing.assert_array_equal(colours.classes(pixels, "mask.png"), expected)
    pixels[3, 0] = 9, 9, 9
    with pytest.raises(UserError, match=r"\(9, 9, 9\) of 1 pixels"):
        replace(colours, ignore_edges=True).classes(pixels, "mask.png")


def test_a_table_beside_the_data_is_found_and_folds_are_made(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    table(tmp_path).rename(tmp_path / "class_dict.csv")
    known = np.array(((0, 0, 255), (128, 64, 128), (255, 0, 0)), np.uint8)
    for index in range(6):
        values = np.random.default_rng(index).integers(0, 3, (32, 32))
        for folder in ("images", "masks"):
            Image.fromarray(known[values]).save(tmp_path / folder / f"p{index // 2}_{index}.png")
    data = build(tmp_path)
    assert data.spec().class_names == ("sky", "road", "car")
    assert data.spec().palette == tuple(map(tuple, known.tolist()))
    assert "class_dict.csv" in data.summary()
    whole: list[str] = []
    for number in (1, 2, 3):
        tree = build(tmp_path, fold=f"{number}/3", group_pattern=r"^(p\d)_").label_maps.tree
        held = [name[:2] for name in tree.val.pairs.image_names]
        assert len(held) == 2 and len(set(held)) == 1
        whole += held
    assert sorted(set(whole)) == ["p0", "p1", "p2"]


def test_transparent_masks_are_refused(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[..., :3] = 0, 0, 255
    colours = read_table(table(tmp_path))
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert not read_label(tmp_path / "mask.png", Coding(3, False), colours).any()
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match="transparent"):
        read_label(tmp_path / "mask.png", Coding(3, False), colours)


def test_another_table_is_other_data(tmp_path: Path) -> None:
    first = read_table(table(tmp_path))
    names = Names(["a.png"])
    plain = Pairs(tmp_path, tmp_path, names, names)
    others = [
        first,
        read_table(table(tmp_path, TABLE.replace("255,0,0", "254,0,0"))),
        read_table(table(tmp_path, TABLE + "edge,1,1,1,ignored\n")),
        replace(first, ignore_edges=True),
        first.in_order(("car", "sky", "road")),
    ]
    found = {replace(plain, colours=one).identity().fingerprint for one in (None, *others)}
    assert len(found) == 1 + len(others)
