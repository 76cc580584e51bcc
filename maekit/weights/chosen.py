"""`FILE#KEY`: which of several sets of weights in one file is meant. No torch here."""

from pathlib import Path


def split_key(given: str | Path) -> tuple[str, str]:
    """Splits what a user typed into the file and the key after `#`; the key is empty where none is given.

    A file or folder that has a `#` in its own name is taken as it is.
    """
    text = str(given)
    file, mark, key = text.rpartition("#")
    if not mark or not file or not key or "/" in key or _exists(text):
        return text, ""
    return file, key


def with_key(path: Path, key: str) -> Path:
    """The path with the key after it, as `split_key` takes it."""
    return Path(f"{path}#{key}") if key else path


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except OSError:
        return False
