"""Recipes: YAML files stacked on each other, each number traceable to the file it came from."""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from maekit.errors import UserError, nearest
from maekit.recipes.tasks import Task
from maekit.system.yaml_loader import YAML_LOADER

# Sections of a recipe, then keys: what YAML holds. jsonargparse checks each value against the type of its flag.
Values: TypeAlias = dict[str, Any]
SMALL = "few"  # the overlay for 100 to 5,000 images


@dataclass(frozen=True)
class Recipe:
    """A task's numbers after stacking `<task>.yaml`, an overlay and the user's `--config` files.

    Attributes:
        task: the task.
        name: the overlay's name, or the base recipe's own.
        values: sections (`model`, `data`, `trainer`, `run`) of keys.
        origins: dotted key -> the last file that set it.
        files: the files, lowest layer first.
    """

    task: Task
    name: str
    values: Values = field(repr=False)
    origins: Mapping[str, Path] = field(repr=False)
    files: tuple[Path, ...]

    def own_file(self, key: str) -> Path | None:
        """Returns the user's own file, or the checkpoint, that sets a dotted key; None where the task's recipe does."""
        stem = self.task.configs / self.task.name
        origin = self.origins.get(key)
        return None if origin in (None, Path(f"{stem}.yaml"), Path(f"{stem}-{self.name}.yaml")) else origin


def recipe_names(task: Task) -> list[str]:
    """Returns the names of a task's recipes: the base recipe first, then the overlays by name."""
    overlays = sorted(path.stem.removeprefix(f"{task.name}-") for path in task.configs.glob(f"{task.name}-*.yaml"))
    return [base_name(task), *overlays]


def base_name(task: Task) -> str:
    """The name that `<task>.yaml` gives itself under the key `recipe` (`default` when it gives none)."""
    return str(read_yaml(task.configs / f"{task.name}.yaml").get("recipe", "default"))


def load_recipe(task: Task, name: str | None, extra: Sequence[Path] = ()) -> Recipe:
    """Stacks the recipe files; later ones win key by key.

    Args:
        task: the task.
        name: an overlay or the base recipe's own name. None: the recipe of a run's config.yaml among `extra`, else the
            base recipe.
        extra: the user's own files, in order.

    Raises:
        UserError: unknown recipe, missing file, or bad YAML; with the file and the nearest right name.
    """
    base = base_name(task)
    name = name or _saved_name(task, extra)
    files = [task.configs / f"{task.name}.yaml"]
    if name is not None and name != base:
        overlay = task.configs / f"{task.name}-{name}.yaml"
        if not overlay.is_file():
            known = recipe_names(task)
            raise UserError(
                f"task {task.name} has no recipe '{name}'{nearest(name, known)} (known: {', '.join(known)})"
            )
        files.append(overlay)
    files.extend(extra)
    values: Values = {}
    origins: dict[str, Path] = {}
    for file in files:
        layer = read_yaml(file)
        layer.pop("recipe", None)
        values = stack(values, layer)
        origins.update(dict.fromkeys((key for key, _ in flat(layer)), file))
    return Recipe(task, name or base, values, origins, tuple(files))


def small_batch(recipe: Recipe) -> int | None:
    """Returns the total batch of a task's recipe for small data, `few`; None where it has none, or is that one."""
    if recipe.name == SMALL or SMALL not in recipe_names(recipe.task):
        return None
    total: int | None = load_recipe(recipe.task, SMALL).values.get("data", {}).get("total_batch_size")
    return total


def saved_header(recipe: Recipe) -> str:
    """Returns the first line of a run's config.yaml; `load_recipe` reads the recipe's name from it."""
    return f"# task {recipe.task.name}, recipe {recipe.name}\n"


def _saved_name(task: Task, files: Sequence[Path]) -> str | None:
    known = recipe_names(task)
    for file in files:
        first = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if file.is_file() else ""
        match = re.fullmatch(r"# task (\S+), recipe (\S+)", first)
        if match and match[1] == task.name and match[2] in known:
            return match[2]
    return None


def read_yaml(file: Path) -> Values:
    """Reads one recipe file: a mapping, `1e-3` a number, no key twice."""
    if not file.is_file():
        near = nearest(file.name, [path.name for path in file.parent.glob("*.yaml")]) if file.parent.is_dir() else ""
        raise UserError(f"no recipe file {file}{near}")
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise UserError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(values, dict | None):
        raise UserError(f"{file}: expected sections such as `model:` and `data:`, got a {type(values).__name__}")
    return values or {}


def stack(below: Values, above: Values) -> Values:
    """Returns `below` with the keys of `above` on top; only mappings are merged."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = stack(merged[key], value) if both else value
    return merged


def flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `section.key`, value pairs; mappings are entered."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def header(file: Path) -> str:
    """Returns the comment block at the top of a recipe, without its `#`."""
    lines = file.read_text(encoding="utf-8").splitlines()
    block = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in block)


class _Loader(YAML_LOADER):  # type: ignore[misc,valid-type]
    """Safe YAML whose floats are YAML 1.2's and whose mappings refuse a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"key '{twice}' stands here twice", node.start_mark)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
