"""The examples at the end of each `--help`, from `examples.yaml`."""

import argparse
from functools import cache
from importlib.resources import files

import yaml


@cache
def examples() -> dict[str, list[str]]:
    """Returns the examples by command, or by command and action such as `weights convert`."""
    found: dict[str, list[str]] = yaml.safe_load(files("maekit.commands").joinpath("examples.yaml").read_text())
    return found


def add_examples(parser: argparse.ArgumentParser, command: str) -> None:
    """Puts a command's examples at the end of its help, and those of its actions at the end of theirs."""
    own = examples().get(command, [])
    if own:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps the lines as they are
        before = f"{parser.epilog}\n\n" if parser.epilog else ""
        parser.epilog = f"{before}{example_text(own)}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                add_examples(inner, f"{command} {name}")


def print_help(parser: argparse.ArgumentParser, note: str) -> None:
    """Prints a command's help with a note on the flags that it passes on, above its examples."""
    parser.epilog = f"{note}\n\n{parser.epilog}" if parser.epilog else note
    parser.print_help()


def example_text(lines: list[str]) -> str:
    """Returns the examples as they stand in a help."""
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])
