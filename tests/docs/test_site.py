"""The site is built strictly, and its pages ask no other host for anything."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.fences import TOP, name_of, pages

LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?(https?:)?//", re.IGNORECASE)


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strict: a link or an anchor that leads nowhere, or a name that the reference does not find, ends the build."""
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(TOP / name, tmp_path)
    (tmp_path / "benchmarks").mkdir()
    shutil.copy(TOP / "benchmarks/README.md", tmp_path / "benchmarks")
    for name in ("docs", "maekit"):
        shutil.copytree(TOP / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert {file.relative_to(tmp_path / "site").with_suffix(".md").as_posix() for file in built} >= set(
        map(name_of, pages())
    )
    for file in built:
        assert LOADED.search(file.read_text(encoding="utf-8")) is None, file
    reference = (tmp_path / "site/reference/python.html").read_text(encoding="utf-8")
    assert 'id="maekit.Session.fit"' in reference


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/]+\.md", (TOP / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2])
    assert sorted(listed) == [name_of(page) for page in pages()]
