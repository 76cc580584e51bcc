"""Names of parameters, shortened for a line of text."""

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

_NUMBERED = re.compile(r"(.*?)\.(\d+)\.(.+)")


def some(names: Sequence[str], most: int = 8) -> str:
    """Names for a line of text, collapsed and cut after `most` entries."""
    short = collapse(names)
    return ", ".join(short[:most]) + (f" and {len(short) - most} more" if len(short) > most else "")


def collapse(names: Iterable[str]) -> list[str]:
    """Shortens names of parameters: those of blocks to `blocks.0-11.*`, those of one module to `norm.*`.

    Blocks are joined when they list the same parameters; `*` stands for two names or more, not always for all.
    """
    numbers: dict[tuple[str, str], list[int]] = {}
    groups: dict[str, list[str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            numbers.setdefault((match[1], match[3]), []).append(int(match[2]))
        else:
            parent, dot, leaf = name.rpartition(".")
            groups.setdefault(parent + dot, []).append(leaf)
    for (stem, rest), at in numbers.items():
        groups.setdefault(f"{stem}.{_ranges(at)}.", []).append(rest)
    return [short for start, rests in groups.items() for short in _joined(start, rests)]


def _joined(start: str, rests: list[str]) -> list[str]:
    if len(rests) == 1 or not start:
        return [start + rest for rest in rests]
    parts = zip(*(rest.split(".") for rest in rests), strict=False)
    common = [same[0] for same in takewhile(lambda same: len(set(same)) == 1, parts)]
    return [start + ".".join([*common, "*"])]


def _ranges(numbers: Iterable[int]) -> str:
    """Writes 0, 1, 2, 5 as `0-2,5`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
