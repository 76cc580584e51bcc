"""The command line: finds and runs a command. Importing it, or a command's module, does not import torch."""

import argparse
import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from maekit.commands.shared.examples import add_examples
from maekit.errors import UserError, nearest
from maekit.recipes.aliases import command_answer, own_flag
from maekit.system.light_imports import is_own_program
from maekit.system.rank import rank
from maekit.version import __version__

GROUPS = {
    "Train": {
        "fit": "train a task, or resume a run with --ckpt_path",
        "plan": "say what memory, time and disk a run needs, and what fits",
        "lr-find": "train shortly while the learning rate rises, and suggest one",
        "lr-table": "print parameter -> layer -> scale -> lr -> weight decay",
        "adapt": "go on with a pre-training on your own images: was it worth it?",
        "replay": "compute a step whose loss was NaN again, layer by layer",
    },
    "Use a model": {
        "validate": "measure a checkpoint or a weights file",
        "predict": "run a model on images: tables, label maps, boxes, pictures",
        "export": "write a model as ONNX or in torch.export's form, and check it",
        "reconstruct": "mask images and draw what a pre-trained model makes of the rest",
    },
    "Look at runs": {
        "runs": "list runs and their results; remove some, or all but the best",
        "watch": "show the page of a run in a browser while it trains",
        "report": "make a page of a run, a study or many runs",
        "compare": "put runs side by side: metrics, and settings that differ",
    },
    "Features of images": {
        "embed": "compute the features of a folder of images",
        "knn": "measure features by their nearest neighbours",
        "similar": "find the images most like one image",
        "cluster": "group images by their features (k-means)",
        "pca": "draw the features of all patches in colour",
        "attention": "draw where a model looks, and its patch features in colour",
    },
    "Studies and the paper": {
        "sweep": "study hyper-parameters, such as layer decay, over seeds",
        "reproduce": "print the paper's tables with your own runs in their cells",
    },
    "Tasks, data and weights": {
        "tasks": "list the tasks, their recipes, and which own data each takes",
        "show": "print a task's recipe with its sources",
        "copy": "copy a task and its recipes into your own folder",
        "data": "check a data set, make a small one, or measure its bands",
        "weights": "say what is in a file of weights, or write another layout",
        "completion": "print what bash, zsh or fish need to complete with Tab",
    },
}
COMMANDS = {name: text for commands in GROUPS.values() for name, text in commands.items()}
_FOLDERS = {  # commands that are not in maekit/commands itself
    "of_features": {"embed", "knn", "similar", "cluster", "pca", "attention"},
    "of_runs": {"runs", "watch", "compare"},
}

_ELSEWHERE = "choose a folder you can write to"
_ADVICE = {
    errno.ENOSPC: "make room on that disk, or choose another folder",
    errno.EDQUOT: "make room within your quota, or choose another folder",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: "mend its permissions, or choose another folder",
    errno.EPERM: "mend its permissions, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder is expected; choose another folder",
    errno.EEXIST: "a file stands where a folder is expected; choose another folder",
    errno.EISDIR: "a folder stands where a file is expected; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend its links",
    errno.ENOENT: "check the path",
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as one line, with the flag that was meant, or where to look further."""
        unknown = re.match(r"unrecognized arguments: (-\S+)", message)
        if unknown:
            flag = unknown[1].split("=")[0]
            options = _options(self)
            meant = own_flag(flag.lstrip("-"), options)
            near = f"; use {meant}" if meant else nearest(flag, options)
            raise UserError(f"unknown flag '{flag}'{near} (see `{self.prog} --help`)")
        raise UserError(f"{message}; see `{self.prog} --help`")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Returns a command's flags, with those of its actions."""
    inner = [one for action in _actions(parser).values() for one in _options(action)]
    return [option for action in parser._actions for option in action.option_strings] + inner


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Returns the parsers of a command's actions, such as `convert` of `maekit weights`, by name."""
    return next((dict(one.choices) for one in parser._actions if isinstance(one, argparse._SubParsersAction)), {})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for a user's error, 1 for a bug, 130 for Ctrl-C."""
    if argv is None:
        is_own_program()
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    argv = list(sys.argv[1:] if argv is None else argv)
    verbose = bool({"-v", "--verbose"} & set(argv))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")  # file names in no known encoding
    try:
        return _run(_negative([_home(word) for word in argv if word not in ("-v", "--verbose")]))
    except UserError as error:
        if verbose:
            traceback.print_exc()
        return error.status if error.shared and rank() > 0 else _fail(str(error), error.status)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C", 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if verbose:
            traceback.print_exc()
        return _fail(_os_line(error), 2 if error.errno in _ADVICE else 1)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        first = (str(error).strip() or "no message").splitlines()[0]
        return _fail(f"unexpected {type(error).__name__}: {first} (add -v for the trace)", 1)


def _run(argv: list[str]) -> int:
    parser = Parser(
        prog="maekit",
        description="Transfer tasks of masked autoencoders (MAE).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_command_list() + "\n\n`maekit help COMMAND` tells more; -v anywhere shows the full trace of an error.",
        usage="maekit COMMAND [options]",
    )
    parser.add_argument("--version", action="version", version=f"maekit {__version__}")
    if not argv or argv[0].startswith("-"):
        parser.parse_args(argv)
        parser.print_help()
        return 0 if argv else 2
    if argv[0] == "help":
        return _run([*argv[1:], "--help"])
    name = argv[0]
    if name not in COMMANDS:
        answer = command_answer(name)
        hint = f"; use `maekit {answer}`" if answer else nearest(name, COMMANDS)
        raise UserError(f"unknown command '{name}'{hint} (known: {', '.join(COMMANDS)})")
    command = import_module(module_of(name))
    sub = Parser(prog=f"maekit {name}", description=COMMANDS[name], allow_abbrev=False, add_help=not command.FORWARDS)
    command.add_arguments(sub)
    _name_positionals(sub)
    if {"-h", "--help"} & set(argv):
        add_examples(sub, name)
    words = _with_default_action(sub, argv[1:])
    if command.FORWARDS:
        args, flags = sub.parse_known_args(words)
        return int(command.main(args, flags, sub))
    return int(command.main(sub.parse_args(words)))


def _name_positionals(parser: argparse.ArgumentParser) -> None:
    """Writes words without a flag in capitals, in a command's help and in its errors."""
    for action in parser._actions:
        if not action.option_strings and action.choices is None and action.metavar is None:
            action.metavar = action.dest.upper()
    for inner in _actions(parser).values():
        _name_positionals(inner)


def _complete() -> None:
    """Answers a shell that asks what can stand at the cursor (see `maekit completion`), and ends the process."""
    import argcomplete

    from maekit.commands.shared.completing import completion_parser

    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0") or 0)]
    words = line.split()

    def module(name: str) -> ModuleType:
        return import_module(module_of(name))

    parser = completion_parser(words, COMMANDS, module, lambda: Parser(prog="maekit"))
    argcomplete.autocomplete(parser, always_complete_options="long")


def _command_list() -> str:
    """The commands in groups, as `maekit --help` lists them."""
    groups = (
        "\n".join([f"{title}:", *(f"  {name:<13}{text}" for name, text in commands.items())])
        for title, commands in GROUPS.items()
    )
    return "\n\n".join(groups)


def _with_default_action(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """Puts the action that a command has as its default before the words, where they begin with none."""
    default = parser.get_default("default_action")
    if default is None or (words and words[0] in (*_actions(parser), "-h", "--help")):
        return words
    return [default, *words]


def module_of(command: str) -> str:
    """Returns the name of the module that runs a command."""
    folder = next((f".{folder}" for folder, names in _FOLDERS.items() if command in names), "")
    return f"maekit.commands{folder}.{command.replace('-', '_')}"


def _home(word: str) -> str:
    """Expands `~` at the beginning of a path, which a shell leaves alone in quotes or after `=`."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{Path(value).expanduser()}" if value == "~" or value.startswith("~/") else word


def _negative(words: Sequence[str]) -> list[str]:
    """Joins flags with negative values such as `-1e-3` or `-inf`, which argparse takes for flags of their own."""
    joined: list[str] = []
    for word in words:
        number = re.fullmatch(r"-(\d+\.?\d*|\.\d+)[eE][-+]?\d+|-\.?(inf|nan)", word, re.IGNORECASE)
        if number and joined and re.fullmatch(r"--[^=]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _os_line(error: OSError) -> str:
    """Returns one line: what the operating system refused, and what to do about it if that is known."""
    where = f"{os.fspath(error.filename)}: " if isinstance(error.filename, str | os.PathLike) else ""
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return f"unexpected {type(error).__name__}: {error} (add -v for the trace)"
    return f"{where}{error.strerror or error}; {advice}"


def _fail(message: str, status: int) -> int:
    print(f"maekit: {message}", file=sys.stderr)
    return status
