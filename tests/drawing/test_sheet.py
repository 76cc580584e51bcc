"""Sheets of pictures: every picture where it belongs, and text that fits."""

from pathlib import Path

import numpy as np
from PIL import Image

from maekit.drawing.sheet import Row, Tile, contact_sheet, named_with_folder, picture_sheet
from maekit.drawing.text import font_that_fits, plain
from maekit.drawing.views import resized, view_size
from maekit.system.size import HeightWidth


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_a_contact_sheet_shows_every_image_where_it_belongs() -> None:
    red, blue = Image.new("RGB", (40, 20), (250, 0, 0)), Image.new("RGB", (300, 600), (0, 0, 250))
    sheet = contact_sheet([Tile(red, ("a",)), Tile(blue, ("b" * 90,)), Tile(red)], columns=2, side=100, title="all")
    assert sheet.size == (12 + 2 * 112, 12 + 21 + (100 + 21 + 12) + (40 + 21 + 12))
    found = pixels(sheet)
    assert (found[33 + 60 : 33 + 100, 12 + 10 : 12 + 90] == (250, 0, 0)).all()  # doubled, at the bottom of its row
    assert (found[33:133, 124 + 25 : 124 + 75] == (0, 0, 250)).all()  # half its size
    assert ((found == (250, 0, 0)).all(axis=2)).sum() == 2 * 80 * 40
    assert (found[133:154, 124:224].min(axis=2) < 100).any()
    assert (found[:, 224:] == 255).all()  # the long caption was cut


def test_a_row_has_its_heading_and_a_lost_image_its_place() -> None:
    sheet = picture_sheet(
        [Row("heading", [Tile(None)]), Row("", [Tile(Image.new("RGB", (50, 50)), marked=True)])], column=90
    )
    assert sheet.size == (12 + 102, 12 + 21 + 90 + 12 + 50 + 12)
    found = pixels(sheet)
    assert (found[12:30].min(axis=2) < 100).any()
    assert tuple(found[34, 13]) == (235, 235, 235)
    assert ((found == (200, 60, 20)).all(axis=2)).sum() == 58**2 - 52**2


def test_captions_have_letters_that_the_font_has() -> None:
    assert plain("Stra\u00dfe, caf\u00e9\n\u732b.jpg") == "Stra?e, cafe??.jpg"


def test_heads_stand_above_their_columns_and_small_pictures_in_the_middle() -> None:
    wide, small = Image.new("RGB", (120, 30), (250, 0, 0)), Image.new("RGB", (20, 30), (0, 0, 250))
    rows = [Row("", [Tile(wide), Tile(small)]), Row("a heading", [Tile(small), Tile(wide)])]
    sheet = picture_sheet(rows, heads=("one", "two"))
    found = pixels(sheet)
    line = (sheet.height - 12 - 6 - 2 * (30 + 12)) // 2  # height of the heads and of the heading
    top = 12 + line + 6
    assert sheet.width == 12 + 2 * 132
    assert (found[top : top + 30, 12:132] == (250, 0, 0)).all()
    assert (found[top : top + 30, 144 + 50 : 144 + 70] == (0, 0, 250)).all()
    lower = top + 30 + 12 + line
    assert (found[lower : lower + 30, 62:82] == (0, 0, 250)).all()
    for left in (12, 144):  # text in the middle of each column, none at its sides
        assert (found[12 : 12 + line, left + 30 : left + 90].min(axis=2) < 100).any()
        assert (found[12 : 12 + line, left : left + 30] == 255).all()


def test_heads_are_as_large_as_their_columns_allow() -> None:
    font, size = font_that_fits(("reconstruction + visible",), 144, 24)
    assert 10 < size < 24
    assert (
        font.getlength("reconstruction + visible")
        <= 144
        < font_that_fits(("x",), 999, size + 1)[0].getlength("reconstruction + visible")
    )
    assert font_that_fits(("a line of text that never fits",), 5, 24)[1] == 10


def test_views_keep_proportions_and_enlarge_by_whole_factors() -> None:
    assert view_size(Image.new("L", (28, 20)), enlarge_to=400, shrink_to=400) == HeightWidth(280, 392)
    assert view_size(Image.new("L", (6000, 40)), enlarge_to=384, shrink_to=1600) == HeightWidth(11, 1600)
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    enlarged = np.asarray(resized(image, HeightWidth(6, 8)))
    assert (enlarged == np.asarray(image).repeat(2, 0).repeat(2, 1)).all()


def test_a_file_is_named_with_its_folder_where_both_fit() -> None:
    assert named_with_folder(Path("a/three/d1042.png")) == "three/d1042.png"
    assert named_with_folder(Path("a/a_long_class_name/d1042.png")) == "d1042.png"
    assert named_with_folder(Path("n0/ILSVRC2012_val_00000048.JPEG")) == "..._val_00000048.JPEG"
