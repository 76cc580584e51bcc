"""Contact sheets of any number of images: pages of forty."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.drawing.pages import COLUMNS, MOST_PAGES, ROWS, SheetPages
from maekit.drawing.sheet import SIDE, Tile


def _pages(folder: Path, count: int) -> str:
    pages = SheetPages(folder)
    for place in range(count):
        pages.add(Tile(Image.new("RGB", (16, 16), (place % 250, 200, 0)), (str(place),)))
    return pages.close()


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (0, []),
        (1, ["contact_sheet.png"]),
        (40, ["contact_sheet.png"]),
        (41, ["contact_sheet.png", "contact_sheet_02.png"]),
    ],
)
def test_a_page_holds_forty_images(tmp_path: Path, count: int, names: list[str]) -> None:
    assert (COLUMNS, ROWS) == (5, 8)
    assert _pages(tmp_path, count) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_each_image_stands_on_its_page(tmp_path: Path) -> None:
    _pages(tmp_path, 43)
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("contact_sheet.png", "contact_sheet_02.png"))
    for page, shown in ((first, range(40)), (second, range(40, 43))):
        areas = [int((page == (place, 200, 0)).all(2).sum()) for place in range(43)]
        assert [place for place, area in enumerate(areas) if area] == list(shown)
        assert {areas[place] for place in shown} == {SIDE * SIDE}  # enlarged, none cut


def test_fewer_images_leave_no_page_of_the_run_before(tmp_path: Path) -> None:
    _pages(tmp_path, 90)
    assert len(list(tmp_path.iterdir())) == 3
    _pages(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["contact_sheet.png"]


def test_the_last_page_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maekit.drawing.pages.MOST_PAGES", 2)
    assert _pages(tmp_path, 80) == ""
    assert _pages(tmp_path, 81) == "the contact sheets show the first 80 of 81 images"
    assert len(list(tmp_path.iterdir())) == 2
    assert MOST_PAGES == 25
