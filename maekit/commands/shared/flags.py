"""Flags that several commands take, and checks of their values."""

import argparse
from pathlib import Path

from maekit.errors import UserError
from maekit.runs.named import named_run
from maekit.system.size import HeightWidth


class OneValue(argparse.Action):
    """Keeps the value of a flag that has two names or may be typed twice, and refuses two different ones."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Sets the value; raises UserError through the parser if another was set before."""
        before = getattr(namespace, self.dest)
        if before not in (None, values):
            names = " or ".join(self.option_strings)
            parser.error(f"got '{before}' and '{values}', expected {names} once")
        setattr(namespace, self.dest, values)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --task, --recipe and --config, which choose a recipe."""
    parser.add_argument("--task", help="a task's name, or the path of your own task.py")
    parser.add_argument("--recipe", help="an overlay of the task's recipe; default: its base recipe")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="your own YAML on top; may be repeated"
    )


def add_help_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --help of a command whose other flags are a task's: `most` (the default) or `all` of them."""
    parser.add_argument(
        "--help",
        "-h",
        nargs="?",
        const="most",
        choices=("most", "all"),
        help="this help; with --task the task's flags that are used most, with `all` after it every one",
    )


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --weights, for commands that need nothing but a backbone, and --model, by which others know a run."""
    add_weights(
        parser,
        "a file of weights, a run's folder, number or checkpoint, a name such as mae_vit_base, or hf:owner/name; "
        "FILE#KEY for one of several sets of weights in a file, such as run.pth#model_ema; --model is the same",
    )


def add_weights(parser: argparse.ArgumentParser, help: str) -> None:
    """Adds the required flag --weights, by its other name --model, with a help of the command's own."""
    parser.add_argument(
        "--weights",
        "--model",
        required=True,
        action=OneValue,
        type=weights_word,
        metavar="FILE_OR_NAME",
        help=help,
    )


def weights_word(given: str) -> str:
    """Returns the folder of the run whose number was given, such as 3 or smoke/3; any other word as it is."""
    if Path(given).exists() or not given.rpartition("/")[2].isdecimal():
        return given
    run = named_run(given, Path("runs"))
    return given if run is None else str(run)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --device, in the words that `choose_device` knows."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def add_moved_images_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --images, for commands that show images which were embedded earlier."""
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where the embedded images are now, if their folder has moved"
    )


def check_moved_images(folder: Path | None) -> None:
    """Refuses a value of --images that is no folder."""
    if folder is not None and not folder.is_dir():
        raise UserError(f"--images: {folder}: no such folder; give where the embedded images are now")


def check_least(flag: str, value: int | None, least: int) -> None:
    """Refuses a number below `least`; None means that the flag was not given."""
    if value is not None and value < least:
        raise UserError(f"--{flag}: got {value}, expected {least} or more")


def parse_image_size(given: str | None) -> int | HeightWidth | None:
    """Returns the value of --image_size: a short side in pixels, or height and width; None if it was not given."""
    if given is None:
        return None
    words = given.lower().split("x")
    if not 1 <= len(words) <= 2 or not all(word.isdecimal() and int(word) for word in words):
        raise UserError(f"--image_size: got '{given}', expected pixels such as 224, or HEIGHTxWIDTH such as 224x320")
    height, width = int(words[0]), int(words[-1])
    return height if len(words) == 1 else HeightWidth(height, width)
