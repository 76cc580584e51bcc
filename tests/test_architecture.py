"""Imports flow one way: what ARCHITECTURE.md says, checked on every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
LIGHTNING = {"maekit/transfer.py", "maekit/run.py", "maekit/trainer.py"}
FILES = sorted(path.relative_to(TOP) for folder in ("maekit", "tasks") for path in (TOP / folder).rglob("*.py"))


def imported(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    """Names of imported modules; only those imported with the module itself if `top_level`."""
    nodes = ast.iter_child_nodes(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(file: Path) -> str:
    return file.parts[1] if len(file.parts) > 2 else file.stem


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_flow_one_way(file: Path) -> None:
    tree = ast.parse((TOP / file).read_text())
    names = set(imported(tree))
    at_top = set(imported(tree, top_level=True))
    where = str(file)
    if where not in LIGHTNING and part(file) != "callbacks" and where != "maekit/settings.py":
        lazily = {"maekit/api.py"}
        assert where in lazily or not any(name.split(".")[0] in ("lightning", "pytorch_lightning") for name in names)
    if where == "maekit/settings.py":
        assert not any(name.startswith("lightning") for name in at_top)
    if where != "maekit/settings.py":
        assert "jsonargparse" not in {name.split(".")[0] for name in names}
    if part(file) == "heads":
        assert not any(name.startswith(("maekit.backbone", "maekit.weights")) for name in names)
    if part(file) == "backbone":
        assert not any(name.startswith("maekit.weights") for name in names)
    if part(file) in ("backbone", "weights", "heads", "optim", "data", "metrics") and where.startswith("maekit"):
        assert not any(
            name.startswith(("maekit.transfer", "maekit.run", "maekit.commands", "maekit.model")) for name in names
        )
    if where.startswith("maekit"):
        assert not any(name.startswith("maekit.tasks.") for name in names)
    if part(file) in ("results", "paper", "report"):  # a hundred runs are read in a second
        assert not {"torch", "numpy", "optuna", "maekit.settings"} & (names | {name.split(".")[0] for name in names})
    if part(file) in ("cli", "commands", "task", "recipe", "errors", "run_folder") or where == "maekit/__init__.py":
        heavy = {"torch", "numpy", "timm", "torchvision", "maekit.settings", "maekit.api", "maekit.model", "maekit.run"}
        assert not heavy & (at_top | {name.split(".")[0] for name in at_top})


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
