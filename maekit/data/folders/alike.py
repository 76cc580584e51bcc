"""Names that mean the same although they differ: `01` and `1`, two encodings of one accent, `Cat` and `cat`."""

import re
import unicodedata
from collections.abc import Iterable

from maekit.errors import UserError

NUMBER = re.compile(r"([+-]?)(\d{1,100})(?:\.(\d*))?", re.ASCII)
MAX_NAMED = 3


def meaning(name: str) -> str:
    """Returns what a name means: without accents' encoding, extra blanks, and a number's plus and needless zeros."""
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    found = NUMBER.fullmatch(plain)
    if found is None:
        return plain
    part = (found[3] or "").rstrip("0")
    return f"{found[1].replace('+', '')}{int(found[2])}{part and '.'}{part}"


def same_names(names: Iterable[str], where: object) -> list[str]:
    """Returns one line for each pair of names that mean the same, except for pairs that differ in case alone."""
    return [
        f"{where}: classes '{one}' and '{other}' {_how(one, other)}; make them one class, or rename one"
        for one, other in _pairs(names)
        if one.casefold() != other.casefold()
    ]


def require_distinct(names: Iterable[str], where: object) -> None:
    """Refuses classes whose names mean the same; see `same_names`.

    Raises:
        UserError: with the first pair.
    """
    for line in same_names(names, where):
        raise UserError(line)


def case_note(names: Iterable[str]) -> str:
    """Returns a note on names that differ in case alone, which stay two classes: letters may be meant; else empty."""
    pairs = [pair for pair in _pairs(names) if pair[0].casefold() == pair[1].casefold()]
    if not pairs:
        return ""
    more = f" and {len(pairs) - MAX_NAMED:,} more pairs" if pairs[MAX_NAMED:] else ""
    which = ", ".join(f"'{one}' and '{other}'" for one, other in pairs[:MAX_NAMED])
    return f"two classes each, though they differ in case alone: {which}{more}"


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    pairs = [(first.setdefault(meaning(name).casefold(), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other]


def _how(one: str, other: str) -> str:
    if NUMBER.fullmatch(" ".join(one.split())):
        return "are the same number"
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "print alike, but their accents are encoded otherwise (NFC against NFD)"
    return "differ only in case or spaces"
