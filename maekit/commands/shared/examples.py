"""The form of each `--help`, and the examples at its end, from `examples.yaml`."""

import argparse
import textwrap
from functools import cache
from importlib.resources import files
from itertools import groupby

import yaml

from maekit.system.yaml_loader import YAML_LOADER


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps paragraphs to the terminal, keeps indented lines as they are, and tells each default once."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for is_prose, group in groupby(text.splitlines(), lambda line: line[:1] not in ("", " ")):
            found = list(group)
            lines += textwrap.wrap(" ".join(found), width) if is_prose else found
        return "\n".join(indent + line for line in lines)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default in (None, False, "", [], argparse.SUPPRESS) or "default" in (action.help or "").lower()
        return action.help if told or not action.help else f"{action.help}; default: %(default)s"


@cache
def examples() -> dict[str, list[str]]:
    """Returns the examples by command, or by command and action such as `weights convert`."""
    found: dict[str, list[str]] = yaml.load(files("maekit.commands").joinpath("examples.yaml").read_text(), YAML_LOADER)
    return found


def add_examples(parser: argparse.ArgumentParser, command: str) -> None:
    """Puts a command's examples at the end of its help, and those of its actions at the end of theirs."""
    own = examples().get(command, [])
    parser.formatter_class = HelpFormatter
    if own:
        before = f"{parser.epilog}\n\n" if parser.epilog else ""
        parser.epilog = f"{before}{example_text(own)}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, inner in action.choices.items():
                inner.description = inner.description or helps.get(name)
                add_examples(inner, f"{command} {name}")


def print_help(parser: argparse.ArgumentParser, note: str) -> None:
    """Prints a command's help with a note on the flags that it passes on, above its examples."""
    parser.epilog = f"{note}\n\n{parser.epilog}" if parser.epilog else note
    parser.print_help()


def example_text(lines: list[str]) -> str:
    """Returns the examples as they stand in a help."""
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])
