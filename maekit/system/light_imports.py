"""Imports libraries without those of their parts that maekit never uses. Standard library alone at import.

Measured on one core: torchmetrics takes 3 s and 0.3 s without what it tries for metrics of sound and text; `timm.data`
takes 2.5 s, of which its one file that is asked for takes 0.01 s. Files of data need no import at all.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

# What torchmetrics imports if it is installed: for sound, plots, text, and scores of pictures by networks.
UNUSED = frozenset({"scipy", "matplotlib", "transformers", "torchvision", "nltk", "librosa", "onnxruntime"})

_own_program = False


def is_own_program() -> None:
    """Says that this process runs a command of maekit: no other code in it asks for the parts that are left out."""
    global _own_program
    _own_program = True


def import_metrics() -> None:
    """Imports torchmetrics without the metrics that need `UNUSED` packages, if this process runs a command of maekit.

    Elsewhere, and if it is imported already, it does nothing: a user's program gets all of torchmetrics.
    """
    if _own_program and "torchmetrics" not in sys.modules:
        with _hidden():
            import_module("torchmetrics")


@contextmanager
def _hidden() -> Iterator[None]:
    """Tells whoever asks lightning_utilities, while the block runs, that the unused packages are not installed."""
    imports: Any = import_module("lightning_utilities.core.imports")
    available, requirement = imports.package_available, imports.RequirementCache

    class Requirement(requirement):  # type: ignore[misc,valid-type]
        """A requirement that is not met if it is of an unused package; it stays so."""

        def __bool__(self) -> bool:
            text = self.requirement or self.module or ""
            name = text.split(">")[0].split("<")[0].split("=")[0].split(".")[0]
            return name not in UNUSED and super().__bool__()

    imports.package_available = lambda name: name not in UNUSED and available(name)
    imports.RequirementCache = Requirement
    try:
        yield
    finally:
        imports.package_available, imports.RequirementCache = available, requirement


def import_alone(name: str) -> ModuleType:
    """Imports one module of a package without the package's `__init__`, which may import much more.

    Args:
        name: as `timm.data.mixup`; the module must import nothing of its own package.

    Returns:
        The module, which is in `sys.modules` under its own name, as after an ordinary import.
    """
    if name in sys.modules:
        return sys.modules[name]
    top, *below = name.split(".")
    file = _find(top, Path(*below).with_suffix(".py"))
    if top in sys.modules or file is None:
        return import_module(name)
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, file
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def package_file(top: str, path: str) -> Path:
    """Returns a file that a package comes with, without importing the package.

    Args:
        top: the package, such as `timm`.
        path: the file's place below it, such as `data/_info/imagenet_synsets.txt`.

    Raises:
        FileNotFoundError: the installed release has no such file.
    """
    file = _find(top, Path(path))
    if file is None:
        raise FileNotFoundError(f"{top} comes without {path}")
    return file


def _find(top: str, path: Path) -> Path | None:
    """Returns the first file of this path in a package's folders, which are found without running it."""
    package = find_spec(top)
    folders = package.submodule_search_locations if package is not None else None
    return next((file for folder in folders or () if (file := Path(folder) / path).is_file()), None)
