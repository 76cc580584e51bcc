"""The flags of a task are remembered, or came with the package: the same values, errors and help until it changes."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from maekit.errors import UserError
from maekit.recipes.flag_help import FlagHelp
from maekit.recipes.recipe import load_recipe
from maekit.recipes.remembered import SHIPPED, described, remember, remembered
from maekit.recipes.settings import flag_helps, make_parser, resolve
from maekit.recipes.tasks import Task, find_task, shipped_tasks

STALE = "flags were changed: run `python benchmarks/ship_flags.py`"
MISTAKES = (
    ["--epochs", "5"],
    ["--model.backbonne=x"],
    ["--data.num_workers=a"],
    ["--data.total_batch_size=many"],
    ["--model.pooling=middle"],
    ["--trainer.devices=0"],
    ["--model.weights"],
)


def outcome(task: Task, module: object, flags: list[str]) -> object:
    try:
        found = resolve(load_recipe(task, "smoke"), module, flags, training=True)  # type: ignore[arg-type]
    except UserError as error:
        return str(error)
    return found.values, found.given, found.defaults


def kinds(module: object) -> dict[str, tuple[str, str]]:
    """Returns the default and the type of each flag, as text."""
    parser = make_parser(module, training=False)
    defaults = vars(parser.get_defaults().as_flat())
    types = {action.dest: str(vars(action).get("_typehint", action.type)) for action in parser._actions}
    return {key: (repr(value), types.get(key, "")) for key, value in defaults.items()}


def helps(task: Task, module: object) -> list[FlagHelp]:
    """Returns what the help says of each flag, its lines joined."""
    found = flag_helps(load_recipe(task, None), module)  # type: ignore[arg-type]
    return [replace(one, text=" ".join(one.text.split())) for one in found]


def shipped(task: Task, cache: Path) -> object:
    """Returns what is known of a task when nothing is remembered."""
    for kept in (cache / "flags").iterdir():
        kept.unlink()
    found = remembered(task)
    assert found is not None, STALE
    return found


@pytest.mark.numeric  # so that it is repeated with the oldest dependencies, which must not change a flag
@pytest.mark.parametrize("task", shipped_tasks(), ids=lambda task: task.name)
def test_the_flags_of_every_task_are_remembered(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("maekit.recipes.settings.make_parser", cache(make_parser))
    remember(task, task.load())
    known = remembered(task)
    assert known is not None
    assert described(task.load()).items() <= json.loads(SHIPPED.read_text())["tasks"][task.name].items(), STALE
    for given in (known, shipped(task, tmp_path)):
        found = kinds(given)
        assert found == kinds(task.load()) and len(found) > 10
        assert helps(task, given) == helps(task, task.load())


@pytest.mark.parametrize("name", ["imagenet_finetune", "coco_maskrcnn"])
def test_what_is_remembered_gives_the_values_and_errors_of_the_task(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("maekit.recipes.settings.make_parser", cache(make_parser))
    task = find_task(name)
    module = task.load()
    remember(task, module)
    known = remembered(task)
    for flags in ([], *MISTAKES):
        assert outcome(task, known, list(flags)) == outcome(task, module, list(flags))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task of a user's own with one more setting, which is remembered."""
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    shipped = find_task("imagenet_finetune")
    file = tmp_path / "mine.py"
    shutil.copyfile(shipped.file, file)
    (tmp_path / "mine.yaml").write_text((shipped.configs / "imagenet_finetune.yaml").read_text())
    task = find_task(str(file))
    remember(task, task.load())
    return task


def test_a_changed_file_is_not_what_is_remembered(own: Task) -> None:
    assert remembered(own) is not None
    before = own.file.stat()
    own.file.write_text(own.file.read_text() + "\n")
    assert remembered(own) is None
    remember(own, own.load())
    assert remembered(own) is not None
    os.utime(own.file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert remembered(own) is None


def test_a_damaged_file_is_not_remembered(own: Task, tmp_path: Path) -> None:
    for kept in (tmp_path / "cache" / "flags").iterdir():
        kept.write_text(kept.read_text()[:-100])
    assert remembered(own) is None


def test_a_setting_of_an_unusual_type_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))

    @dataclass(kw_only=True)
    class Data:
        """Data with a setting that no flag can give."""

        phase: complex = 1j

    task = replace(find_task("imagenet_finetune"), shipped=False)
    module = ModuleType("unusual")
    vars(module).update(Model=task.load().Model, Data=Data)
    remember(task, module)
    assert remembered(task) is None
