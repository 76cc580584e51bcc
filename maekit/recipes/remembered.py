"""The flags of a task, remembered from its last import, so that a mistyped one is answered without importing torch.

Names, types and defaults of the fields of a task's settings and data are kept as JSON in the cache, beside size and
time of every file that the import read, as Python judges its own .pyc files; where one has changed nothing is
remembered. A run resolves its settings from the imported task all the same.
"""

import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from functools import partial, reduce
from hashlib import blake2b
from inspect import getdoc
from operator import or_
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from maekit.recipes.model_settings import settings_class
from maekit.recipes.tasks import Task
from maekit.system.files import atomic_write_text, cache_folder

FORMAT = 1
PLAIN: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "none": NoneType, "any": Any}


class NotPlainError(Exception):
    """A type or a default that is not kept; such a task is imported each time."""


def remember(task: Task, module: ModuleType) -> None:
    """Keeps the flags of an imported task; nothing where one has an unusual type, or the cache cannot be written."""
    try:
        model = _described(settings_class(module.Model))
        kept = {"model": model, "data": _described(module.Data), "evaluates_only": module.Model.evaluates_only}
    except NotPlainError:
        return
    try:
        files = {str(file): _state(file) for file in _read_files()}
        file = _place(task)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps({"format": FORMAT, "files": files, **kept}))
    except (OSError, RuntimeError):  # the second where the user has no home
        return


def remembered(task: Task) -> ModuleType | None:
    """Returns what stands for the imported task where flags are checked: `Model` and `Data` with the fields alone.

    Returns:
        None if the task was not imported with these files before.
    """
    try:
        kept = json.loads(_place(task).read_text())
        if kept["format"] != FORMAT or any(_state(Path(file)) != state for file, state in kept["files"].items()):
            return None
        module = ModuleType(task.name)
        vars(module).update(Model=_model(kept["model"], bool(kept["evaluates_only"])), Data=_made(kept["data"]))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or another version's
        return None
    return module


def _model(described: Mapping[str, Any], only: bool) -> type:
    settings = _made(described)

    class Model:
        """Stands for a task's model, of which only the flags are known."""

        evaluates_only = only

        def __init__(self, spec: object, settings: object) -> None:
            raise NotImplementedError("this is no model, but the flags of one")

    Model.__init__.__annotations__["settings"] = settings
    return Model


def _place(task: Task) -> Path:
    own = f"{task.file}\0{sys.prefix}\0{sys.version}\0{Path(__file__).parent}"
    return cache_folder() / "flags" / f"{task.name}-{blake2b(own.encode(), digest_size=8).hexdigest()}.json"


def _state(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def _read_files() -> Iterator[Path]:
    """Files that decide what was imported: maekit's and the user's; of an installed package its first file alone."""
    standard = Path(sysconfig.get_paths()["stdlib"])
    for name, module in sorted(sys.modules.items()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if not file or not Path(file).is_file():
            continue
        path = Path(file)
        installed = bool({"site-packages", "dist-packages"} & set(path.parts))
        own = name.split(".")[0] == "maekit" or not (installed or path.is_relative_to(standard))
        if own or (installed and "." not in name):
            yield path


def _described(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    found = []
    for one in fields(kind):
        found.append([one.name, _type_words(hints[one.name]), _default(one)])
    return {"name": kind.__name__, "summary": (getdoc(kind) or "").split("\n")[0], "fields": found}


def _default(one: Field[Any]) -> list[Any]:
    """Returns the default in a list, which is empty where a value is required; lists and mappings are made anew."""
    value = one.default if one.default_factory is MISSING else one.default_factory()
    if value is MISSING:
        return []
    if not one.init or (type(value) not in PLAIN.values() and json.loads(json.dumps(value, default=str)) != value):
        raise NotPlainError
    return [value]


def _type_words(hint: Any) -> Any:
    """Returns a type as JSON: `"int"`, `["list", "int"]`, `["union", ...]`, `["literal", ...]` or a described class."""
    names = [name for name, plain in PLAIN.items() if hint is plain]
    if names:
        return names[0]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return ["union", *map(_type_words, parts)]
    if origin is Literal and all(isinstance(part, str | int | bool | None) for part in parts):
        return ["literal", *parts]
    if origin in (list, dict):
        return [origin.__name__, *map(_type_words, parts)]
    if isinstance(hint, type) and is_dataclass(hint):
        return _described(hint)
    raise NotPlainError


def _made(described: Mapping[str, Any]) -> type:
    found: list[tuple[str, Any, Any]] = []
    for name, words, default in described["fields"]:
        found.append((name, _type(words), _field(default)))
    made = make_dataclass(described["name"], found, kw_only=True, frozen=True)
    made.__doc__ = described["summary"]
    return made


def _field(default: list[Any]) -> Any:
    if not default:
        return field()
    again = partial(deepcopy, default[0])
    return field(default_factory=again) if isinstance(default[0], list | dict) else field(default=default[0])


def _type(words: Any) -> Any:
    if isinstance(words, str):
        return PLAIN[words]
    if isinstance(words, dict):
        return _made(words)
    kind, *parts = words
    if kind == "literal":
        return Literal[tuple(parts)]
    inner = tuple(map(_type, parts))
    if kind == "union":
        return reduce(or_, inner)
    return {"list": list, "dict": dict}[kind][inner]  # type: ignore[index]
