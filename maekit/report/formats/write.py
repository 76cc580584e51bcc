"""Writes a document's files into a folder: a page, Markdown, LaTeX, CSV tables, charts."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from maekit.errors import UserError
from maekit.report.charts.charts import svg_file
from maekit.report.document import Document, HeatMap, LineChart, Pictures, Table
from maekit.report.formats.latex import render_latex
from maekit.report.formats.markdown import render_markdown
from maekit.report.formats.tables_csv import named_blocks, render_csv, tables_of
from maekit.report.page.render import render_html
from maekit.system.files import atomic_write_text
from maekit.version import __version__

_LIST = ".files.json"  # what the last report wrote, so that the next one removes its own and nothing else


def write_report(document: Document, folder: Path) -> list[Path]:
    """Writes `report.html`, `report.md`, `report.tex`, `tables/*.csv` and `charts/*.svg`; returns their paths.

    Tables and charts of an earlier report that this one does not have are removed: they may be of something else.

    Raises:
        UserError: the folder is a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, expected a folder for the report's files; give --output DIR")
    before = _listed(folder)
    charts = _charts(document)
    linked = {id(chart): Path("charts", file) for file, chart in charts.items()}
    texts = {
        folder / "report.html": render_html(document),
        folder / "report.md": render_markdown(document, linked, _pictures(document, folder)),
        folder / "report.tex": render_latex(document),
        **{folder / "tables" / f"{name}.csv": render_csv(table) for name, table in tables_of(document).items()},
        **{folder / "charts" / file: svg_file(chart) for file, chart in charts.items()},
    }
    for file, text in texts.items():
        atomic_write_text(file, text)
    for old in before - set(texts):
        old.unlink(missing_ok=True)
    atomic_write_text(folder / _LIST, json.dumps([file.relative_to(folder).as_posix() for file in texts]) + "\n")
    return list(texts)


def created_line() -> str:
    """When and by what a report is made."""
    return f"Made by maekit {__version__} on {datetime.now(UTC).isoformat(sep=' ', timespec='minutes')}"


def _charts(document: Document) -> dict[str, LineChart | HeatMap]:
    """The charts by the names of their files, which are those of their tables."""
    named: dict[str, LineChart | HeatMap] = {}
    for name, block in named_blocks(document).items():
        if not isinstance(block, Table):
            named[f"{name}.svg"] = block
    return named


def _pictures(document: Document, folder: Path) -> dict[Path, Path]:
    """A picture's file -> its path from the report's folder, so that the two can be moved together."""
    blocks = [block for section in document.sections for block in section.blocks if isinstance(block, Pictures)]
    files = [picture.path for block in blocks for picture in block.pictures]
    return {file: Path(os.path.relpath(file.resolve(), folder.resolve())) for file in files}


def _listed(folder: Path) -> set[Path]:
    """The tables and charts that the last report wrote here."""
    try:
        names = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return {folder / name for name in texts if re.fullmatch(r"(tables/[\w-]+\.csv|charts/[\w-]+\.svg)", name)}
