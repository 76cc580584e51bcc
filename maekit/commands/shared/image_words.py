"""The words by which a user names images: files, folders, patterns and lists."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from maekit.errors import UserError

HELP = (
    "images, folders of them at any depth, patterns in quotes such as 'photos/**/*.jpg', or a list with one of these a "
    "line: @files.txt or files.txt, or - for one from standard input"
)
LIST, STANDARD_INPUT = ".txt", Path("-")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def refuse_url(word: str) -> None:
    """Refuses an address: nothing is downloaded that was not asked for by name."""
    if _URL.match(word):
        raise UserError(f"{word}: is an address, expected a file or folder here; download it first")


def list_of(word: str) -> Path | None:
    """Returns the file of a list of images, if a word means one: `@FILE`, `-`, or an existing file in .txt."""
    path = Path(word).expanduser()
    if path == STANDARD_INPUT and not path.exists():
        return path
    if path.is_file() and path.suffix.lower() == LIST:
        return path
    return Path(word[1:]).expanduser() if word.startswith("@") and not path.exists() else None


def list_lines(path: Path) -> list[tuple[int, str]]:
    """Returns the lines of a list that are not blank, with their numbers from 1.

    Raises:
        UserError: the file is missing, is no text, has no line, or names an address.
    """
    from maekit.data.folders.text import read_text

    if path == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise UserError("-: standard input is this terminal, expected a list with an image a line from a pipe")
        text = sys.stdin.buffer.read().decode(errors="surrogateescape")
    elif not path.is_file():
        raise UserError(f"@{path}: no such file, expected a list with an image a line")
    else:
        text = read_text(path)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"{path}: an empty list, expected an image a line")
    for number, line in lines:
        if _URL.match(line):
            raise UserError(f"{path}:{number}: {line} is an address, expected a file or folder here; download it first")
    return lines


def listed_path(line: str, list_file: Path) -> Path:
    """Returns the path of a list's line: as it is from the current folder, else from the list's own folder."""
    path = Path(line).expanduser()
    return path if path.exists() or path.is_absolute() else list_file.parent / path


def matches(pattern: str) -> tuple[list[Path], Path] | None:
    """Returns what a pattern with `*`, `?` or `[...]` finds, in order, and the folder below which it looks.

    Returns None for a word that is no pattern; a file of that very name is none either. `**` stands for any folders.
    Hidden files and those of file systems are passed over, as in folders.
    """
    from maekit.data.folders.file_names import is_passed_over

    if not glob.has_magic(pattern) or Path(pattern).exists():
        return None
    parts = Path(pattern).expanduser().parts
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    folder, below = Path(*parts[:first]), Path(*parts[first:])
    found = folder.glob(str(below / "*" if below.name == "**" else below))  # `**` alone finds folders before 3.13
    return sorted(path for path in found if not any(map(is_passed_over, path.relative_to(folder).parts))), folder


def unique(files: Sequence[Path]) -> Iterator[Path]:
    """Yields each file once, whichever way it is written."""
    seen: set[str] = set()
    for file in files:
        name = os.path.normpath(file.absolute())
        if name not in seen:
            seen.add(name)
            yield file


def common_parent(files: Sequence[Path]) -> Path:
    """Returns the deepest folder that has all files in it or below it, absolute.

    Args:
        files: at least one.
    """
    return Path(os.path.commonpath([Path(os.path.normpath(file.absolute())).parent for file in files]))
