"""A walk over every flag that `maekit fit --help` offers: each works, or is refused in one line that names it."""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from maekit.errors import UserError
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import SECTIONS, Settings, make_parser, resolve
from maekit.recipes.tasks import Task, find_task, shipped_tasks
from tests.recipes.flag_values import FLAGS

NOT_RUN = ("model", "data")
NAMED = {"model.backbone": "the ViT", "model.global_blocks": "blocks", "model.num_components": "components"}


@cache
def flags_of(task: Task) -> list[str]:
    """The dotted keys of a task's own flags, from its parser."""
    parser = make_parser(task.load(), training=True)
    return [key for key in parser.get_defaults().as_flat().__dict__ if key.split(".")[0] in SECTIONS]


def owner(module: ModuleType, key: str) -> str:
    """The class whose constructor has the flag's argument: tasks that share it need not all try it."""
    section, name = key.split(".")[:2]
    start: type = vars(module)[section.capitalize()]
    for cls in start.__mro__:
        if "__dataclass_fields__" in vars(cls) and name not in inspect.get_annotations(cls):
            continue  # its constructor takes the fields of its bases too
        if "__init__" in vars(cls) and name in inspect.signature(vars(cls)["__init__"]).parameters:
            return f"{cls.__module__}.{cls.__qualname__}"
    return "maekit.optim.settings.Optimisation"


def walked() -> Iterator[tuple[str, str]]:
    """A task for each pair of a flag and the class that takes it."""
    seen = set()
    for task in shipped_tasks():
        for key in flags_of(task):
            if key.split(".")[0] in NOT_RUN and (pair := (owner(task.load(), key), key)) not in seen:
                seen.add(pair)
                yield task.name, key


WALK = list(walked())


def settings(task: Task, flags: list[str]) -> Settings:
    """The smoke recipe with flags on top, and no weights to look for."""
    none = [] if any(flag.startswith("--model.weights") for flag in flags) else ["--model.weights=none"]
    return resolve(load_recipe(task, "smoke"), task.load(), [*none, *flags], training=True)


def construct(task_name: str, flags: list[str]) -> Any:
    """What the flags describe, up to the training data: nothing is read, and the classes are the published ones."""
    task = find_task(task_name)
    module, values = task.load(), settings(task, flags).values
    data = module.Data(**values["data"])
    side = values["data"].get("image_size") or values["data"]["crop_size"]
    spec = replace(module.Data.published, image_size=(side, side))
    model = module.Model.build(spec, values["model"])
    if not model.evaluates_only:
        chosen = Optimisation(**values["optim"])
        chosen.make_optimizer(model, model.backbone, 16)
        chosen.factor(100, 10)(5, {"lr_scale": 1.0, "peak_lr": 1.0})
    return data, model


def test_every_flag_has_values_to_try() -> None:
    offered = {key for task in shipped_tasks() for key in flags_of(task)}
    assert offered == set(FLAGS), "a new flag needs an entry in tests/recipes/flag_values.py"
    pairs = {(task.name, key) for task in shipped_tasks() for key in flags_of(task)}
    assert len(offered) >= 160 and len(pairs) >= 750


@pytest.fixture(autouse=True, scope="module")
def one_parser_a_task() -> Iterator[None]:
    """A parser takes longer to build than to use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maekit.recipes.settings.make_parser", cache(make_parser))
        yield


@pytest.mark.parametrize(("task", "key"), WALK)
def test_a_flag_takes_what_it_should_and_refuses_the_rest_in_one_line(task: str, key: str) -> None:
    good, bad = FLAGS[key]
    for value in good:
        word, *others = value.split()
        here = flags_of(find_task(task))
        construct(task, [f"--{key}={word}", *(flag for flag in others if flag[2:].split("=")[0] in here)])
    for value in bad:
        with pytest.raises(UserError) as caught:
            construct(task, [f"--{key}={value}"])
        line = str(caught.value)
        assert NAMED.get(key, key.rsplit(".", 1)[-1]) in line, (value, line)
        assert "\n" not in line
