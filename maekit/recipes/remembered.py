"""The flags of a task, remembered from its last import, so that help and a mistyped one need not import torch.

Names, types, defaults and help of the fields of a task's settings and data are kept as JSON in the cache, beside size
and time of every file that the import read, as Python judges its own .pyc files; where one has changed nothing is
remembered. Those of shipped tasks come with the package, in `flags.json`, with a fingerprint of the lines that declare
them: they are used while these lines are the same, whatever is installed beside maekit, since no library has a say in
them. A run resolves its settings from the imported task all the same.
"""

import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from functools import partial, reduce
from hashlib import blake2b
from inspect import getdoc
from operator import or_
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from maekit.recipes.declared import NotFollowedError, fingerprint
from maekit.recipes.model_settings import settings_class
from maekit.recipes.tasks import Task
from maekit.system.files import atomic_write_text, cache_folder

FORMAT = 2
SHIPPED = Path(__file__).with_name("flags.json")
PLAIN: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "none": NoneType, "any": Any}


class NotPlainError(Exception):
    """A type or a default that is not kept; such a task is imported each time."""


def remember(task: Task, module: ModuleType) -> None:
    """Keeps the flags of an imported task; nothing where one has an unusual type, or the cache cannot be written."""
    try:
        kept = described(module)
    except NotPlainError:
        return
    try:
        files = {str(file): _state(file) for file in _read_files()}
        file = _place(task)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps({"format": FORMAT, "files": files, **kept}))
    except (OSError, RuntimeError):  # the second where the user has no home
        return


def described(module: ModuleType) -> dict[str, Any]:
    """Returns the flags of an imported task as plain values.

    Raises:
        NotPlainError: one has an unusual type or default.
    """
    from maekit.recipes.settings import flag_texts

    texts = flag_texts(module)
    model, data = _described(settings_class(module.Model), texts, "model"), _described(module.Data, texts, "data")
    return {"model": model, "data": data, "evaluates_only": module.Model.evaluates_only}


def remembered(task: Task) -> ModuleType | None:
    """Returns what stands for the imported task where flags are checked: `Model` and `Data` with the fields alone.

    Returns:
        None if the task was not imported with these files before, and those that it came with have changed.
    """
    try:
        kept = _kept(task) or _shipped(task)
        if kept is None:
            return None
        module = ModuleType(task.name)
        vars(module).update(Model=_model(kept["model"], bool(kept["evaluates_only"])), Data=_made(kept["data"]))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or another version's
        return None
    return module


def _kept(task: Task) -> dict[str, Any] | None:
    """Returns what was kept in the cache; None if nothing was, or a file has changed since."""
    try:
        kept: dict[str, Any] = json.loads(_place(task).read_text())
        same = all(_state(Path(file)) == state for file, state in kept["files"].items())
        return kept if same and kept["format"] == FORMAT else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _shipped(task: Task) -> dict[str, Any] | None:
    """Returns what came with the package; None for a task that did not, or whose lines were changed since."""
    if not task.shipped:
        return None
    try:
        table = json.loads(SHIPPED.read_text(encoding="utf-8"))
        kept: dict[str, Any] = table["tasks"][task.name]
        return kept if table["format"] == FORMAT and kept["declared"] == fingerprint(task.file) else None
    except (NotFollowedError, SyntaxError):
        return None


def shipped_table(tasks: Iterable[Task]) -> str:
    """Returns the contents of `flags.json` for these tasks, which are imported."""
    rows = {task.name: {"declared": fingerprint(task.file), **described(task.load())} for task in tasks}
    lines = [f"{json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}" for name, row in rows.items()]
    return f'{{"format": {FORMAT}, "tasks": {{\n' + ",\n".join(lines) + "\n}}\n"


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


def _described(kind: type, texts: Mapping[str, str], section: str) -> dict[str, Any]:
    """Returns a dataclass as plain values; `texts` are the help of flags by their keys, which begin with `section`."""
    hints = get_type_hints(kind)
    found = []
    for one in fields(kind):
        key = f"{section}.{one.name}"
        found.append([one.name, _type_words(hints[one.name], texts, key), _default(one), texts.get(key, "")])
    return {"name": kind.__name__, "summary": (getdoc(kind) or "").split("\n")[0], "fields": found}


def _default(one: Field[Any]) -> list[Any]:
    """Returns the default in a list, which is empty where a value is required; lists and mappings are made anew."""
    value = one.default if one.default_factory is MISSING else one.default_factory()
    if value is MISSING:
        return []
    if not one.init or (type(value) not in PLAIN.values() and json.loads(json.dumps(value, default=str)) != value):
        raise NotPlainError
    return [value]


def _type_words(hint: Any, texts: Mapping[str, str], key: str) -> Any:
    """Returns a type as JSON: `"int"`, `["list", "int"]`, `["union", ...]`, `["literal", ...]` or a described class."""
    names = [name for name, plain in PLAIN.items() if hint is plain]
    if names:
        return names[0]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return ["union", *(_type_words(part, texts, key) for part in parts)]
    if origin is Literal and all(isinstance(part, str | int | bool | None) for part in parts):
        return ["literal", *parts]
    if origin in (list, dict):
        return [origin.__name__, *(_type_words(part, texts, key) for part in parts)]
    if isinstance(hint, type) and is_dataclass(hint):
        return _described(hint, texts, key)
    raise NotPlainError


def _made(described: Mapping[str, Any]) -> type:
    found: list[tuple[str, Any, Any]] = []
    lines = [described["summary"], "", "Args:"]
    for name, words, default, text in described["fields"]:
        found.append((name, _type(words), _field(default)))
        lines += [f"    {name}: {text}"] if text else []
    made = make_dataclass(described["name"], found, kw_only=True, frozen=True)
    made.__doc__ = "\n".join(lines)
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
