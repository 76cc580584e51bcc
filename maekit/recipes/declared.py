"""What the source of a shipped task declares as flags, read without importing it: a fingerprint of just these lines.

From a task's page on, the bases of its `Model` and `Data`, the settings that the model is given, and every name that
an annotation or a default of theirs uses are followed through maekit's files. Methods decide no flag and are left out.
"""

import ast
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]


class NotFollowedError(Exception):
    """A name is defined less plainly than this module can read."""


class _Place(NamedTuple):
    """A name in a file of Python."""

    file: Path
    name: str


def fingerprint(page: Path) -> str:
    """Returns a hash of the lines that decide the flags of a task: names, types, defaults and help.

    Args:
        page: the task's file.

    Raises:
        NotFollowedError: a name cannot be followed.
        OSError, SyntaxError: a file cannot be read.
    """
    seen: dict[_Place, list[str]] = {}
    waiting = [_Place(page, "Model"), _Place(page, "Data")]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        lines, known = _read(place.file)
        seen[place] = []
        for statement in known.get(place.name, ()):
            if isinstance(statement, ast.ImportFrom):  # without the other names of the line
                seen[place].append(f"from {statement.module}")
                waiting += _imported(statement, place.name, page)
                continue
            for node in _deciding(statement):
                seen[place] += lines[node.lineno - 1 : node.end_lineno]
                waiting += [_Place(place.file, name) for name in _used(node) if name in known]
        if not seen[place]:
            raise NotFollowedError(f"no {place.name} in {place.file}")
    parts = [f"{file.name}:{name}\n{chr(10).join(text)}" for (file, name), text in sorted(seen.items())]
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@cache
def _read(file: Path) -> tuple[list[str], dict[str, list[ast.stmt]]]:
    """Returns a file's lines, and the statements at its top level by each name that they bind."""
    text = file.read_text(encoding="utf-8")
    known: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(text).body:
        for name in set(_bound(statement)):
            known.setdefault(name, []).append(statement)
    return text.splitlines(), known


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((one.asname or one.name).split(".")[0] for one in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name


def _deciding(statement: ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    """Yields what of a statement decides flags: of a class its bases, its fields, and the settings a model is given."""
    if not isinstance(statement, ast.ClassDef):
        yield statement
        return
    fields = any("dataclass" in _used(decorator) for decorator in statement.decorator_list)
    yield from (*statement.decorator_list, *statement.bases, *(keyword.value for keyword in statement.keywords))
    for node in statement.body:
        if isinstance(node, ast.AnnAssign):
            name = node.target.id if isinstance(node.target, ast.Name) else ""
            if name == "evaluates_only" or (fields and "ClassVar" not in _used(node.annotation)):
                yield node
        elif fields and node is statement.body[0] and isinstance(node, ast.Expr):  # what its fields mean
            yield node
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = (*node.args.args, *node.args.kwonlyargs)
            yield from (one.annotation for one in arguments if one.arg == "settings" and one.annotation is not None)


def _used(node: ast.AST) -> set[str]:
    """Returns the names that code uses; those in quotes too, as annotations may be written."""
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            if isinstance(one.ctx, ast.Load):  # else a field of the name of an imported function, such as class_weights
                found.add(one.id)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and not isinstance(node, ast.Expr):
            with suppress(SyntaxError, ValueError):
                found |= {part.id for part in ast.walk(ast.parse(one.value)) if isinstance(part, ast.Name)}
    return found


def _imported(statement: ast.ImportFrom, name: str, page: Path) -> Iterator[_Place]:
    """Yields the place of a name that is imported from a file of maekit; nothing for one of another library."""
    parts = (statement.module or "").split(".")
    if parts[0] != PACKAGE.name:
        return
    folder = page.parent if parts[1:2] == ["tasks"] else PACKAGE.joinpath(*parts[1:-1])
    file = folder / f"{parts[-1]}.py"
    file = file if file.is_file() else folder / parts[-1] / "__init__.py"
    yield from (_Place(file, one.name) for one in statement.names if (one.asname or one.name) == name)
