"""Finds and imports tasks: Python files with a Model and a Data class, beside their recipes. Imports no torch."""

import ast
import importlib
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from types import ModuleType

from maekit.errors import UserError, nearest
from maekit.recipes import user_tasks
from maekit.recipes.moved_modules import moved_module
from maekit.system.light_imports import import_metrics

_OWN_DATA = "Own data:"


@dataclass(frozen=True)
class Task:
    """One task: a Python file with `Model` and `Data`, and a folder with its recipes.

    Attributes:
        name: the file's name without `.py`.
        file: the Python file.
        configs: the folder that holds `<name>.yaml` and its overlays `<name>-<recipe>.yaml`.
        shipped: whether it is part of maekit (else it was given by its path).
    """

    name: str
    file: Path
    configs: Path
    shipped: bool

    @property
    def given_as(self) -> str:
        """The value of `--task` that finds this task again from any folder."""
        return self.name if self.shipped else str(self.file)

    def summary(self) -> str:
        """First line of the task's docstring, read without importing it."""
        return self._docstring().split("\n")[0]

    def own_data(self) -> str:
        """What data of one's own the task takes, as its page says under `Own data:`; empty where it says nothing."""
        lines = self._docstring().splitlines()
        start = next((at for at, line in enumerate(lines) if line.startswith(_OWN_DATA)), len(lines))
        more = takewhile(lambda line: line.startswith(" "), lines[start + 1 :])
        return " ".join(
            [line.removeprefix(_OWN_DATA).strip() for line in lines[start : start + 1]] + [*map(str.strip, more)]
        )

    def own_data_lines(self) -> list[str]:
        """The same as a line of a help, or no line."""
        found = self.own_data()
        return [f"Data of your own: {found}"] if found else []

    def _docstring(self) -> str:
        try:
            return ast.get_docstring(ast.parse(self.file.read_text(encoding="utf-8"))) or ""
        except SyntaxError as error:
            raise UserError(f"{self.file}:{error.lineno}: not valid Python: {error.msg}") from error

    def load(self) -> ModuleType:
        """Imports the task, with torch and all it needs."""
        if self.shipped:  # no code of the user's, which might ask for all of torchmetrics
            import_metrics()
        try:
            module = importlib.import_module(self._import_path())
        except ModuleNotFoundError as error:
            advice = moved_module(error.name or "")
            if self.shipped or not advice:
                raise
            raise UserError(f"{self.file} imports {error.name}, which is not there{advice}") from error
        except ImportError as error:
            if self.shipped or not (error.name or "").startswith("maekit"):
                raise
            raise UserError(f"{self.file}: {error}{moved_module(error.name or '')}") from error
        for name in ("Model", "Data"):
            if name not in vars(module):
                raise UserError(
                    f"{self.file} defines no class '{name}'; a task defines Model and Data (see ARCHITECTURE.md)"
                )
        return module

    def loaded(self) -> ModuleType | None:
        """Returns a shipped task if this process has imported it, else None."""
        return sys.modules.get(self._import_path()) if self.shipped else None

    def _import_path(self) -> str:
        if self.shipped:
            return f"maekit.tasks.{self.name}"
        folder = str(self.file.parent)
        os.environ[user_tasks.ENVIRONMENT] = folder
        if user_tasks.__path__ != [folder]:
            user_tasks.__path__ = [folder]
            for loaded in [name for name in sys.modules if name.startswith("maekit.recipes.user_tasks.")]:
                del sys.modules[loaded]
        return f"maekit.recipes.user_tasks.{self.name}"


def shipped_tasks() -> list[Task]:
    """The tasks of this installation, by name."""
    folder, configs = _package_folder("maekit.tasks"), _package_folder("maekit.configs")
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return [Task(path.stem, path, configs, shipped=True) for path in files]


def find_task(given: str | None) -> Task:
    """Finds a shipped task by name, or anyone's by the path of its Python file.

    Raises:
        UserError: nothing was given, the file is missing, or no task has this name.
    """
    shipped = {task.name: task for task in shipped_tasks()}
    if given is None:
        raise UserError(
            f"no task given; add --task NAME, one of: {', '.join(shipped)} (or the path of your own task.py)"
        )
    if given in shipped:
        return shipped[given]
    if given.endswith(".py") or os.sep in given:
        return _task_at(Path(given).expanduser().resolve())
    raise UserError(f"unknown task '{given}'{nearest(given, shipped)} (known: {', '.join(shipped)})")


def _task_at(file: Path) -> Task:
    if not file.is_file():
        near = nearest(file.name, [path.name for path in file.parent.glob("*.py")]) if file.parent.is_dir() else ""
        raise UserError(f"no task file {file}{near}")
    if not file.stem.isidentifier():
        raise UserError(f"task file {file.name} cannot be imported; rename it to letters, digits and underscores")
    places = [file.parent.parent / "configs", file.parent / "configs", file.parent]
    for folder in places:
        if (folder / f"{file.stem}.yaml").is_file():
            return Task(file.stem, file, folder, shipped=False)
    raise UserError(f"task {file} has no recipe; put {file.stem}.yaml in {places[0]} (`maekit copy` shows the layout)")


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"package {package} is not installed; install maekit with `pip install -e .` or from its wheel")
    return Path(spec.origin).parent
