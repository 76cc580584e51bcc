"""Links of the pages and of the files beside them: each leads to a file and a heading that exist; others are whole."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.docs.fences import TOP, pages

FILES = [*pages(), *(TOP / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)(?: \"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")


def prose(text: str) -> str:
    """A page without its blocks and code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE))


def slug_of(heading: str) -> str:
    """The anchor that Python-Markdown makes of a heading."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def whole(page: Path) -> str:
    """A page's text, with that of the file which it includes."""
    text = page.read_text(encoding="utf-8")
    return re.sub(
        r'^--8<-- "(.+)"$', lambda found: (TOP / found[1]).read_text(encoding="utf-8"), text, flags=re.MULTILINE
    )


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown makes them."""
    found: set[str] = set()
    text = re.sub(r"^( *)```.*?^\1```$", "", whole(page), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE):
        given = re.search(r"\{ *#([\w-]+) *\}$", heading)
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug, number = given[1] if given else slug_of(plain), 1
        while slug in found:
            slug, number = f"{slug_of(plain)}_{number}", number + 1
        found.add(slug)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(TOP).as_posix())
def test_links(file: Path) -> None:
    for markdown, html in LINK.findall(prose(whole(file))):
        link = markdown or html
        parts = urlparse(link)
        if parts.scheme:
            assert parts.scheme in ("https", "http"), link
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), link
            continue
        target = (file.parent / parts.path).resolve() if parts.path else file
        assert target.exists(), f"{link}: no such file"
        if file.is_relative_to(TOP / "docs"):
            assert target.is_relative_to(TOP / "docs"), f"{link}: outside of the site"
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in anchors(target), f"{link}: no such heading"
