"""What tab completion offers: commands, flags, tasks, recipes, keys, runs and names of weights."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_OF_RUNS = {"ckpt_path", "run", "runs", "paths", "model"}
_OF_WEIGHTS = {"weights", "source"}
_OF_CHOICE = {
    "state": ("running", "finished", "paused", "stopped", "failed", "killed", "validated"),
    "sort": ("age", "metric", "size", "step", "name"),
    "device": ("auto", "cpu", "cuda", "mps"),
}


def completion_parser(
    words: Sequence[str],
    commands: Mapping[str, str],
    module_of: Callable[[str], ModuleType],
    new_parser: Callable[[], argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Returns a parser of the line that is being typed, with what completes each of its values.

    Args:
        words: the line so far, the program first.
        commands: their names and what they do.
        module_of: imports a command's module.
        new_parser: makes the parser of the program.
    """
    parser = new_parser()
    actions = parser.add_subparsers()
    typed = next((word for word in words[1:] if not word.startswith("-")), None)
    for name, text in commands.items():
        module = module_of(name) if name == typed else None
        sub = actions.add_parser(name, help=text, allow_abbrev=False, add_help=module is None or not module.FORWARDS)
        if module is not None:
            module.add_arguments(sub)
            _take_default_action(sub, words)
            if module.FORWARDS:
                _add_keys(sub, words)
            _complete(sub, words)
    helped = actions.add_parser("help", help="what a command does and takes")
    helped.add_argument("command", nargs="?", choices=list(commands))
    return parser


def _take_default_action(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Offers the flags of a command's default action where no action has been typed."""
    default = parser.get_default("default_action")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and default and not set(words) & set(action.choices):
            for one in action.choices[default]._actions:
                if one.option_strings and one.dest != "help":
                    parser._add_action(one)


def _add_keys(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Adds the flags of the task that has been typed, and those that all tasks have."""
    from maekit.recipes.known_keys import known_keys

    for key, kind in known_keys(_value_of("--task", words)).items():
        choices = [word for word in kind.split("|") if word == word.lower() and word.isprintable() and "[" not in word]
        action = parser.add_argument(f"--{key}", default=argparse.SUPPRESS)
        if len(choices) > 1:
            _completed_by(action, lambda prefix, choices=choices, **_: choices)
        elif key == "model.weights":
            _completed_by(action, _with_files(weights_names))


def _complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Says for each flag and place of a command, and of its actions, what completes it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete(inner, words)
        elif action.dest == "task":
            _completed_by(action, _with_files(_task_names))
        elif action.dest == "recipe":
            _completed_by(action, lambda prefix, **_: _recipe_names(words))
        elif action.dest in _OF_CHOICE:
            _completed_by(action, lambda prefix, dest=action.dest, **_: _OF_CHOICE[dest])
        elif action.dest in _OF_RUNS | _OF_WEIGHTS:
            sources = [run_names] if action.dest in _OF_RUNS else []
            sources += [weights_names] if action.dest in _OF_WEIGHTS else []
            sources += [_newest] if "--ckpt_path" in action.option_strings else []
            _completed_by(action, _with_files(*sources))


def _completed_by(action: argparse.Action, completer: Callable[..., Iterable[str]]) -> None:
    action.completer = completer  # type: ignore[attr-defined] # where argcomplete looks


def _with_files(*names: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """Returns a completer of names, and of files where none of them begins as the word does."""

    def complete(prefix: str, **kwargs: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        found = [name for source in names for name in source() if name.startswith(prefix)]
        return found if found and prefix else [*found, *FilesCompleter()(prefix, **kwargs)]

    return complete


def run_names() -> list[str]:
    """Returns what names each run: `<task>/<recipe>/<number>`, and the number alone where one run has it."""
    from maekit.runs.named import holds_run

    runs = Path("runs")
    places = [folder.relative_to(runs).parts for folder in sorted(runs.glob("*/*/*")) if holds_run(folder)]
    ends = [parts[-1] for parts in places]
    return [*("/".join(parts) for parts in places), *(end for end in ends if ends.count(end) == 1)]


def _newest() -> list[str]:
    return ["last", "best"]


def weights_names() -> list[str]:
    """Returns the names of the published weights, and of those that come with the package."""
    from maekit.weights.get.find import shipped_weights
    from maekit.weights.get.official import official_weights

    return [*shipped_weights(), *official_weights()]


def _task_names() -> list[str]:
    from maekit.recipes.tasks import shipped_tasks

    return [task.name for task in shipped_tasks()]


def _recipe_names(words: Sequence[str]) -> list[str]:
    """Returns the recipes of the task that was typed; of all tasks where none was."""
    from maekit.errors import UserError
    from maekit.recipes.recipe import recipe_names
    from maekit.recipes.tasks import find_task, shipped_tasks

    given = _value_of("--task", words) or (words[2] if len(words) > 2 and words[1] in ("show", "copy") else None)
    try:
        tasks = [find_task(given)] if given else shipped_tasks()
    except UserError:
        return []
    return sorted({name for task in tasks for name in recipe_names(task)})


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    from maekit.recipes.flag_value import flag_value

    return flag_value(list(words), flag)
