"""The page of tested versions says what pyproject.toml admits and what tests/oldest.txt tries."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from maekit.version import __version__
from tests.docs.fences import TOP

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (TOP / "docs/versions.md").read_text(encoding="utf-8")


def test_every_dependency_has_its_row() -> None:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE)]
    listed = {row[0]: row[1:] for row in rows if len(row) == 4 and row[0] not in ("package", "---")}
    oldest = dict(
        re.findall(r"^([\w-]+)==(\S+)$", (TOP / "tests/oldest.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    required = [Requirement(text) for text in PROJECT["dependencies"]]
    assert list(listed) == [requirement.name for requirement in required]
    for requirement in required:
        admitted, old, new = listed[requirement.name]
        assert set(admitted.split(",")) == {str(part) for part in requirement.specifier}
        assert old == oldest[requirement.name]
        assert new in requirement.specifier
        assert Version(new) >= Version(old)


def test_every_extra_is_listed() -> None:
    listed = re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(PROJECT["optional-dependencies"])


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (__version__, PROJECT["license"])
