"""The names of the classes of a segmentation data set: from `classes.txt`, another file, or the recipe."""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from maekit.data.folders.alike import meaning
from maekit.errors import UserError, nearest
from maekit.system.plain import listed_names

CLASSES_FILE = "classes.txt"
MAX_CLASSES = 254  # a label file has 8 bits: 255 is ignored, 0 may be
FLAG = "data.classes"


def given_classes(given: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the names of `data.classes`: a list, a comma-separated string, or the path of a file of names.

    Raises:
        UserError: a name is empty or repeated, there are too few or too many, or the file cannot be read.
    """
    if not isinstance(given, str):
        return _checked([str(name).strip() for name in given], [f"{FLAG}[{i}]" for i in range(len(given))], FLAG)
    path = Path(given).expanduser()
    if path.is_file():
        return _of_file(path)
    if "," not in given:
        raise UserError(f"{FLAG}: got '{given}', which is no file; expected names like sky,road,car or a file of names")
    names = listed_names(given)
    return _checked(names, [f"{FLAG}[{i}]" for i in range(len(names))], FLAG)


def read_classes(root: Path) -> tuple[str, ...] | None:
    """Returns the names in classes.txt, one a line in label order; None where there is no such file.

    Raises:
        UserError: a line is empty, a name is repeated, or there are too few or too many.
    """
    path = root / CLASSES_FILE
    return _of_file(path) if path.is_file() else None


def lacking_classes(root: Path) -> UserError:
    """Returns the error for a folder without class names."""
    texts = [path.name for path in sorted(root.glob("*.txt"))]
    hint = nearest(CLASSES_FILE, texts)
    advice = f"write one class name a line, the first is label 0, or give --{FLAG} NAME,NAME,..."
    return UserError(f"{root}: no {CLASSES_FILE} in it{hint}; {advice}")


def _of_file(path: Path) -> tuple[str, ...]:
    """Reads names, one a line, in UTF-8 or UTF-16 with a byte order mark; `# comments` are skipped."""
    lines = list(enumerate(_text(path).rstrip().splitlines(), 1))
    names = [(re.sub(r"\s#\s.*$", "", line).strip(), number) for number, line in lines if line.strip()[:1] != "#"]
    while names and not names[-1][0]:  # blank lines before a comment at the end
        names.pop()
    return _checked([name for name, _ in names], [f"{path}:{number}" for _, number in names], str(path))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except (OSError, UnicodeDecodeError):
        advice = "write one class name a line, in label order, and save it as UTF-8"
        raise UserError(f"{path}: cannot be read as text; {advice}") from None


def _checked(names: list[str], places: list[str], where: str) -> tuple[str, ...]:
    seen = set[str]()
    for name, place in zip(names, places, strict=True):
        if not name:
            raise UserError(f"{place}: an empty line, expected one class name a line, in label order")
        if meaning(name).casefold() in seen:
            raise UserError(f"{place}: '{name}' stands twice; give each class a name of its own")
        seen.add(meaning(name).casefold())
    if not 2 <= len(names) <= MAX_CLASSES:
        advice = "; where all else is background, that is a class too: name it first" if len(names) == 1 else ""
        raise UserError(f"{where}: {len(names)} class names, expected 2 to {MAX_CLASSES}, one a line{advice}")
    return tuple(names)
