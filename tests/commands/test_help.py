"""Every help ends with examples that the command line takes."""

import argparse
import shlex
from collections.abc import Iterator
from importlib import import_module

import pytest

from maekit.cli import COMMANDS, GROUPS, Parser, main, module_of
from maekit.commands.shared.examples import examples
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task, shipped_tasks

EXAMPLES = [(name, line) for name, lines in examples().items() for line in lines]


def pages() -> Iterator[str]:
    """Each command, and each action such as `weights convert`."""
    for name in COMMANDS:
        parser = Parser(prog=name, add_help=False)
        import_module(module_of(name)).add_arguments(parser)
        yield name
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from (f"{name} {inner}" for inner in action.choices)


@pytest.mark.parametrize("page", pages())
def test_every_help_fits_and_ends_with_examples(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*page.split(), "--help"]) == 0
    out = capsys.readouterr().out
    text, _, after = out.partition("\nexamples:\n")
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text.startswith(f"usage: maekit {page.removesuffix(' list')} ") and "\n\n" in text
    shown = after.strip().splitlines()
    assert shown and all(line.strip().startswith("maekit ") for line in shown)
    assert any(f"maekit {page.removesuffix(' list')}" in line for line in shown)
    assert main(["help", *page.split()]) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(("page", "line"), EXAMPLES)
def test_an_example_is_a_command_line_that_is_taken(page: str, line: str) -> None:
    """Its flags are flags, and its task, recipe and keys are there; that it runs was tried by hand."""
    program, command, *words = shlex.split(line, comments=True)
    assert program == "maekit"
    module = import_module(module_of(command))
    parser = Parser(prog=command, add_help=not module.FORWARDS, allow_abbrev=False)
    module.add_arguments(parser)
    actions = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if actions and not set(words[:1]) & set(actions[0].choices):
        words = [parser.get_default("default_action"), *words]
    args, flags = parser.parse_known_args(words)
    assert not flags or module.FORWARDS
    task = vars(args).get("task")
    if task and not task.startswith("my/") and command not in ("sweep", "runs"):
        recipe = load_recipe(find_task(task), vars(args).get("recipe"))
        resolve(recipe, recipe.task.load(), flags, training=True)


def test_the_list_of_commands_is_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert main(["help"]) == 0
    assert capsys.readouterr().out == out
    places = [out.index(f"\n{title}:\n") for title in GROUPS]
    assert places == sorted(places)
    assert all(out.count(f"\n  {name} ") == 1 for name in COMMANDS)


def test_tasks_and_show_say_what_data_of_one_s_own_a_task_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for task in shipped_tasks():
        own = " ".join(task.own_data().split())
        assert own and own in words
        assert main(["show", task.name]) == 0
        assert own in " ".join(capsys.readouterr().out.split())


def test_a_default_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "images at a time; default: 64 --num_workers" in words  # from the parser, since the text has none
    assert "processes that read images; default: by the cores --device" in words  # the text's own
