"""Imports flow one way: the table of who may import whom, checked on every module, lazy imports included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
EVERYBODY = {"errors", "version"}
ALLOWED = {
    "system": "",
    "recipes": "optim system",
    "backbone": "system",
    "runs": "recipes system",
    "optim": "system",
    "base": "backbone recipes weights system",
    "data": "base system",
    "drawing": "data system",
    "classification": "base backbone data drawing system weights",
    "segmentation": "backbone base data drawing system weights",
    "detection": "base data drawing system weights",
    "robustness": "base classification data weights system",
    "features": "backbone base data drawing runs system weights",
    "training": "base data optim recipes runs system weights",
    "study": "base optim recipes runs system training",
    "export": "recipes runs system weights",
    "paper": "recipes runs system",
    "report": "paper recipes runs study system",
    "tasks": "base backbone classification data detection pretraining robustness segmentation system",
}
FILES = sorted(path.relative_to(TOP) for folder in ("maekit", "tasks") for path in (TOP / folder).rglob("*.py"))


def module_of(file: Path) -> str:
    parts = list(file.with_suffix("").parts)
    parts = ["maekit", *parts] if parts[0] == "tasks" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in FILES}


def imported(file: Path, *, top_level: bool = False) -> Iterator[str]:
    """Names of imported modules; only those imported with the module itself if `top_level`."""
    tree = ast.parse((TOP / file).read_text())
    for node in ast.iter_child_nodes(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def folder_of(module: str) -> str:
    """The folder right below `maekit`, or the module there."""
    return module.split(".")[1] if "." in module else "maekit"


@pytest.mark.parametrize("file", [file for file in FILES if folder_of(module_of(file)) in ALLOWED], ids=str)
def test_imports_follow_the_table(file: Path) -> None:
    own = folder_of(module_of(file))
    others = {folder_of(name) for name in imported(file) if name.split(".")[0] == "maekit"} - {own}
    assert others <= EVERYBODY | set(ALLOWED[own].split()), file


def test_the_library_names_no_task() -> None:
    tasks = {path.stem for path in (TOP / "tasks").glob("*.py")} - {"__init__"}
    assert tasks
    for file in FILES:
        if file.parts[0] == "maekit":
            text = (TOP / file).read_text()
            assert not [name for name in tasks if name in text], file


def test_files_stay_short() -> None:
    """A file that does not fit a few screens is split."""
    for file in FILES:
        lines = [
            line for line in (TOP / file).read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")
        ]
        assert len(lines) <= 260, f"{file}: {len(lines)} code lines"
