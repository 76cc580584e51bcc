"""The report as one HTML file that needs nothing else: no network, no other file, and no script but for sorting."""

from dataclasses import replace

from maekit.report.charts.svg import element, escaped
from maekit.report.document import Document, Picture, Pictures
from maekit.report.formats.html_blocks import block_html
from maekit.report.formats.html_pictures import Shown, fitting
from maekit.report.formats.page_script import SORT_SCRIPT
from maekit.report.page_style import CHART_STYLE, PAGE_STYLE

LIMIT = 3_000_000  # bytes of the whole file
_ROWS = (2000, 200, 40)  # of a table: the most, and where the page grew too large
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render_html(document: Document) -> str:
    """The document as a self-contained page of at most `LIMIT` bytes.

    Where it would be larger, pictures are scaled down and then left out, tables are cut, and at last whole sections
    are left out from the end; each says so at its place.
    """
    for most_rows in _ROWS:
        page = _fitted(document, most_rows, "")
        if _size(page) <= LIMIT:
            return page
    kept = document.sections
    while kept and _size(page) > LIMIT:
        kept = kept[:-1]
        left_out = [section.title for section in document.sections[len(kept) :]]
        note = f"Left out, as the page would be too large: {', '.join(left_out)[:500]}."
        page = _fitted(replace(document, sections=kept), _ROWS[-1], note)
    return page


def _fitted(document: Document, most_rows: int, note: str) -> str:
    """The page, its pictures in the room that all else leaves."""
    places = [block for section in document.sections for block in section.blocks if isinstance(block, Pictures)]
    wanted: list[Picture] = [picture for block in places for picture in block.pictures]
    bare = _page(
        document, {id(b): [Shown(p.caption, reason="x" * 120) for p in b.pictures] for b in places}, most_rows, note
    )
    shown = iter(fitting(wanted, max(0, LIMIT - _size(bare))))
    return _page(document, {id(block): [next(shown) for _ in block.pictures] for block in places}, most_rows, note)


def _page(document: Document, pictures: dict[int, list[Shown]], most_rows: int, note: str) -> str:
    sections = "".join(
        f'<section id="part-{i}"><h2>{escaped(section.title)}</h2>'
        + "".join(block_html(block, lambda found: pictures[id(found)], most_rows) for block in section.blocks)
        + "</section>"
        for i, section in enumerate(document.sections, start=1)
    )
    if note:
        sections += f'<section><p class="note">{escaped(note)}</p></section>'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escaped(' '.join(document.title.split()))}</title>\n"
        f"<style>{CHART_STYLE}{PAGE_STYLE}</style>\n</head>\n"
        f'<body>\n<div class="frame">\n{_head(document)}\n<div class="body">{_contents(document)}\n'
        f"<main>{sections}</main></div>\n</div>\n<script>{SORT_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _head(document: Document) -> str:
    lines = "".join(element("li", escaped(line)) for line in document.summary if line)
    summary = f'<ul class="summary">{lines}</ul>' if lines else ""
    created = f'<p class="created">{escaped(document.created)}</p>'
    return f"<header><h1>{escaped(document.title)}</h1>{created}{summary}</header>"


def _contents(document: Document) -> str:
    """The table of contents, where there is more than one section."""
    if len(document.sections) < 2:
        return ""
    items = "".join(
        f'<li><a href="#part-{i}">{escaped(section.title)}</a></li>'
        for i, section in enumerate(document.sections, start=1)
    )
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{items}</ol></nav>'


def _size(page: str) -> int:
    return len(page.encode())
