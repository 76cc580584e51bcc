"""What maekit uses of Optuna: documented names, and one file, bounded in version, for everything else."""

import ast
import tomllib
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage

from maekit.errors import UserError
from maekit.study.queue.optuna_storage import OLDEST, TOO_NEW, check_version

TOP = Path(__file__).resolve().parents[2]
ONE_FILE = TOP / "maekit/study/queue/optuna_storage.py"
STORAGE_METHODS = {name for name in dir(RDBStorage) if not name.startswith("_")} - set(dir(optuna.Study))


def problems(source: str) -> list[str]:
    """What a module uses of Optuna beyond its documented names."""
    tree = ast.parse(source)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names: list[str] = []
    for one in imported:
        module = f"{one.module}." if isinstance(one, ast.ImportFrom) and one.module else ""
        names += [module + alias.name for alias in one.names]
    names = [name for name in names if name.split(".")[0] == "optuna"]
    if not names:
        return []
    found = [name for name in names if "._" in name or name.startswith("optuna.storages")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            private = node.attr.startswith("_") and not node.attr.startswith("__") and not own
            if private or node.attr in STORAGE_METHODS or (node.attr == "storages"):
                found.append(node.attr)
    return found


def test_no_other_file_uses_more_than_documented_names() -> None:
    files = [file for folder in ("maekit", "tasks") for file in (TOP / folder).rglob("*.py")]
    assert ONE_FILE in files
    assert {str(file): found for file in files if file != ONE_FILE and (found := problems(file.read_text()))} == {}
    assert problems(ONE_FILE.read_text())  # else it is not needed any more


@pytest.mark.parametrize(
    "source",
    [
        "from optuna.storages import RDBStorage",
        "import optuna.storages._heartbeat",
        "from optuna.study import _tell",
        "import optuna\nstudy._storage",
        "import optuna\ntrial._trial_id",
        "import optuna\noptuna.storages.RDBStorage('x')",
        "import optuna\nx.set_trial_state_values(1)",
    ],
)
def test_other_uses_are_found(source: str) -> None:
    assert problems(source)


def test_documented_uses_are_allowed() -> None:
    assert {name for name in dir(BaseStorage) if "trial_" in name and not name.startswith("_")} <= STORAGE_METHODS
    source = "import optuna\nfrom optuna.trial import TrialState\noptuna.create_study().get_trials()\nself._mine()"
    assert problems(source) == []


def test_the_bounds_are_those_of_the_package() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    bounds = f"optuna>={'.'.join(map(str, OLDEST))},<{TOO_NEW[0]}"
    assert bounds in project["dependencies"]
    check_version()


@pytest.mark.parametrize("version", ["4.2.1", "6.0.0", "6.0.0b0"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(UserError, match=rf"optuna {version}, expected optuna>=4.3,<6"):
        check_version(version)
