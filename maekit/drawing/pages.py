"""Contact sheets of many images, a page at a time, so that any number of images needs the memory of one page."""

from itertools import count
from pathlib import Path

from maekit.drawing.sheet import Tile, contact_sheet

COLUMNS, ROWS, MOST_PAGES = 5, 8, 25


class SheetPages:
    """Writes `contact_sheet.png`, `contact_sheet_02.png` and so on, each of 5 x 8 images; no more than 25 pages.

    Pages of an earlier run with more images are removed.

    Args:
        folder: where the pages go; it exists when the first is written.
        title: a line above each page; the pages are numbered from the second on.
    """

    def __init__(self, folder: Path, title: str = "") -> None:
        self.folder, self.title, self.tiles, self.num_pages, self.num_left = folder, title, list[Tile](), 0, 0

    def add(self, tile: Tile) -> None:
        """Puts an image on the current page, and writes the page if it is full."""
        if self.num_pages == MOST_PAGES:
            self.num_left += 1
            return
        self.tiles.append(tile)
        if len(self.tiles) == COLUMNS * ROWS:
            self._write()

    def close(self) -> str:
        """Writes the last page; returns how many images are on no page, in words, or an empty text."""
        if self.tiles:
            self._write()
        for number in count(self.num_pages + 1):
            if not self._page(number).is_file():
                break
            self._page(number).unlink()
        shown = COLUMNS * ROWS * MOST_PAGES
        whole = shown + self.num_left
        return f"the contact sheets show the first {shown:,} of {whole:,} images" if self.num_left else ""

    def _write(self) -> None:
        self.num_pages += 1
        number = f" (page {self.num_pages})" if self.title and self.num_pages > 1 else ""
        sheet = contact_sheet(self.tiles, columns=min(COLUMNS, len(self.tiles)), title=self.title + number)
        sheet.save(self._page(self.num_pages))
        self.tiles = []

    def _page(self, number: int) -> Path:
        return self.folder / ("contact_sheet.png" if number == 1 else f"contact_sheet_{number:02}.png")
