"""`maekit completion`: prints what a shell needs to complete commands, flags, tasks, recipes and runs with Tab."""

import argparse
import os

from maekit.errors import UserError

FORWARDS = False
SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "print what a shell reads to complete with Tab; put one of the lines below into your shell's start-up file"
    )
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="default: the shell that $SHELL names")


def main(args: argparse.Namespace) -> int:
    """Prints the shell's code."""
    from argcomplete.shell_integration import shellcode

    shell = args.shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119
    if shell not in SHELLS:
        raise UserError(f"got the shell '{shell}' from $SHELL, expected one of {', '.join(SHELLS)}; give it")
    print(shellcode(["maekit"], shell=shell))
    return 0
